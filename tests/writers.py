"""Small writers of every checkpoint dialect: the real pickle opcodes, names and layouts, made from our Generator.

They know nothing of the readers: a pickle is written by Python's own pickler, with globals that needn't exist.
"""

import argparse
import collections
import io
import json
import math
import pickle

import numpy as np
import torch


class Global:
    """A name that a pickle refers to, whether or not there is such a thing."""

    def __init__(self, full):
        self.module, _, self.name = full.rpartition(".")

    def __call__(self, *args):
        raise AssertionError("never called: pickle only wants it callable")


class Call:
    """What a pickle would construct."""

    def __init__(self, full, *args, state=None, items=None, new=False):
        self.full, self.args, self.state, self.items, self.new = full, args, state, items, new


class Writer(pickle._Pickler):
    """Python's pickler, which writes Global and Call as if they were the things they name."""

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            if self.proto >= 4:
                self.save(obj.module)
                self.save(obj.name)
                self.write(pickle.STACK_GLOBAL)
            else:
                self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            if id(obj) in self.memo:
                return self.write(self.get(self.memo[id(obj)][0]))
            self.save(Global(obj.full))
            self.save(obj.args)
            self.write(pickle.NEWOBJ if obj.new else pickle.REDUCE)
            self.memoize(obj)
            if obj.items is not None:
                self.write(pickle.MARK)
                for each in (each for pair in obj.items.items() for each in pair):
                    self.save(each)
                self.write(pickle.SETITEMS)
            if obj.state is not None:
                self.save(obj.state)
                self.write(pickle.BUILD)
        else:
            super().save(obj, save_persistent_id)
        return None


def pickled(obj, protocol=4):
    file = io.BytesIO()
    Writer(file, protocol).dump(obj)
    return file.getvalue()


def easy_dict(**items):
    return Call("dnnlib.util.EasyDict", new=True, items=items)


# numpy, as version 1 writes it


def array(tensor, core="core"):
    dtype = Call("numpy.dtype", "f4", False, True, state=(3, "<", None, None, None, -1, -1, 0))
    data = tensor.contiguous().numpy().tobytes()
    if tensor.ndim == 0:
        return Call(f"numpy.{core}.multiarray.scalar", dtype, data)
    state = (1, tuple(tensor.shape), dtype, False, data)
    return Call(f"numpy.{core}.multiarray._reconstruct", Global("numpy.ndarray"), (0,), b"b", state=state)


# NVIDIA, PyTorch


def persistent(name, children, tensors, **attributes):
    """A module as torch_utils.persistence writes it: its class's name, source and state."""
    parameters = collections.OrderedDict()
    for key, value in tensors.items():
        parameters[key] = torch.nn.Parameter(value) if "weight" in key or "bias" in key else value
    buffers = {k: v for k, v in parameters.items() if not isinstance(v, torch.nn.Parameter)}
    state = {
        "training": False,
        "_parameters": collections.OrderedDict((k, v) for k, v in parameters.items() if k not in buffers),
        "_buffers": collections.OrderedDict(buffers),
        "_non_persistent_buffers_set": set(),
        "_backward_hooks": collections.OrderedDict(),
        "_modules": collections.OrderedDict(children),
        **attributes,
    }
    meta = {"type": "class", "version": 6, "module_src": "raise SystemExit('executed')", "class_name": name}
    return Call("torch_utils.persistence._reconstruct_persistent_obj", meta | {"state": state})


def ada(G, protocol=4):
    """A snapshot by stylegan2-ada-pytorch: {"training_set_kwargs", "G", "D", "augment_pipe", "G_ema"}."""
    lr, clamp = G.settings["lr_multiplier"], G.settings["conv_clamp"]

    def module(part, name):
        children = {key: module(child, f"{name}.{key}") for key, child in part.named_children()}
        tensors = {**dict(part.named_parameters(recurse=False)), **dict(part.named_buffers(recurse=False))}
        tensors = {key: t.detach() for key, t in tensors.items()}
        attributes = {}
        if hasattr(part, "lr_multiplier"):
            attributes = {
                "activation": part.act,
                "bias_gain": part.lr_multiplier,
                "weight_gain": array(torch.tensor(0.1)),
            }
        elif type(part).__name__ in ("SynthesisLayer", "ToRGB"):
            attributes = {"conv_clamp": clamp, "use_noise": True}
            attributes |= {"activation": "lrelu"} if "conv" in name else {}
        return persistent(type(part).__name__, children, tensors, **attributes)

    options = easy_dict(class_name="training.networks.Generator", mapping_kwargs=easy_dict(lr_multiplier=lr))
    net = module(G, "G")
    net.args[0]["state"] |= {"_init_args": (), "_init_kwargs": options}
    other = persistent("Discriminator", {}, {"weight": torch.randn(3, 3)})
    return pickled(
        {"training_set_kwargs": {"path": "data.zip"}, "G": net, "D": other, "augment_pipe": None, "G_ema": net},
        protocol,
    )


# NVIDIA, TensorFlow


def tensorflow(G, revised=False, protocol=4):
    """(G, D, Gs) by StyleGAN2 or StyleGAN2-ADA in TensorFlow; `revised` names the image layers as configs b to d do."""
    s, given = G.state_dict(), G.settings
    side = given["img_resolution"]
    mapping, synthesis, row = {}, {}, 0
    if given["c_dim"] and given["label_norm"] == "joint":
        mapping["LabelConcat/weight"] = s["mapping.embed.weight"].T / math.sqrt(given["c_dim"])
    elif given["c_dim"]:
        mapping["LabelEmbed/weight"] = s["mapping.embed.weight"].T
        mapping["LabelEmbed/bias"] = s["mapping.embed.bias"]
    for i in range(given["mapping_layers"]):
        mapping[f"Dense{i}/weight"], mapping[f"Dense{i}/bias"] = s[f"mapping.fc{i}.weight"].T, s[f"mapping.fc{i}.bias"]
    synthesis["4x4/Const/const"] = s["synthesis.b4.const"][None]
    for r in [2**k for k in range(2, int(math.log2(side)) + 1)]:
        for ours, theirs in (("conv0", "Conv0_up"), ("conv1", "Conv" if r == 4 else "Conv1"), ("torgb", "ToRGB")):
            p, q = f"synthesis.b{r}.{ours}.", f"{r}x{r}/{theirs}/"
            if f"{p}weight" not in s:
                continue
            if revised and ours == "torgb":
                q = f"ToRGB_lod{int(math.log2(side // r))}/"
            weight = s[f"{p}weight"].permute(2, 3, 1, 0)
            synthesis[f"{q}weight"] = weight.flip(0, 1) if ours == "conv0" else weight
            synthesis[f"{q}mod_weight"] = s[f"{p}affine.weight"].T
            synthesis[f"{q}mod_bias"] = s[f"{p}affine.bias"] - 1
            synthesis[f"{q}bias"] = s[f"{p}bias"]
            if ours != "torgb":
                synthesis[f"{q}noise_strength"] = s[f"{p}noise_strength"]
                synthesis[f"noise{row}"] = s[f"{p}noise_const"][None, None]
                row += 1
        if f"synthesis.b{r}.skip.weight" in s:
            synthesis[f"{r}x{r}/Skip/weight"] = s[f"synthesis.b{r}.skip.weight"].permute(2, 3, 1, 0)
    if revised:  # growing left an image layer at every side, of which only the last is used
        synthesis["lod"] = torch.zeros(())
        synthesis["ToRGB_lod1/weight"] = torch.randn(1, 1, 4, 3)
    options = {
        "num_channels": 3,
        "resolution": side,
        "label_size": given["c_dim"],
        "mapping_layers": given["mapping_layers"],
    }
    options |= {"mapping_lrmul": given["lr_multiplier"], "architecture": given["architecture"]}
    options |= {"latent_size": given["z_dim"], "dlatent_size": given["w_dim"]}
    options |= {"fmap_base": given["channel_base"] // 2, "fmap_max": given["channel_max"]}
    if given["conv_clamp"] is not None:
        options["conv_clamp"] = given["conv_clamp"]

    def network(name, function, variables, **components):
        state = {
            "version": 4, "name": name, "static_kwargs": options, "components": components,
            "build_module_src": "raise SystemExit('executed')", "build_func_name": function,
            "variables": [(key, array(t.float())) for key, t in variables.items()],
        }  # fmt: skip
        return Call("dnnlib.tflib.network.Network", new=True, state=state)

    top = {"lod": torch.zeros(()), "dlatent_avg": s["mapping.w_avg"]}
    parts = {
        "synthesis": network("G_synthesis", "G_synthesis_stylegan2", synthesis),
        "mapping": network("G_mapping", "G_mapping", mapping),
    }
    D = network("D", "D_stylegan2", {"4x4/Conv/weight": torch.randn(3, 3, 2, 2)})
    return pickled((network("G", "G_main", {}), D, network("Gs", "G_main", top, **parts)), protocol)


# Community formats


def saved(obj, legacy=False):
    file = io.BytesIO()
    torch.save(obj, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def rosinality_names(G):
    s, found = G.state_dict(), {"input.input": G.state_dict()["synthesis.b4.const"][None]}
    blur = s["synthesis.b8.resample_filter"] * 4
    for i in range(G.settings["mapping_layers"]):
        found[f"style.{i + 1}.weight"], found[f"style.{i + 1}.bias"] = (
            s[f"mapping.fc{i}.weight"],
            s[f"mapping.fc{i}.bias"],
        )
    noise = 0
    for k, r in enumerate(2**k for k in range(2, int(math.log2(G.resolution)) + 1)):
        rgb = "to_rgb1" if k == 0 else f"to_rgbs.{k - 1}"
        convs = [("conv1", "conv1")] if k == 0 else [("conv0", f"convs.{2 * k - 2}"), ("conv1", f"convs.{2 * k - 1}")]
        for ours, theirs in [*convs, ("torgb", rgb)]:
            p = f"synthesis.b{r}.{ours}."
            found[f"{theirs}.conv.weight"] = s[f"{p}weight"][None]
            found[f"{theirs}.conv.modulation.weight"] = s[f"{p}affine.weight"]
            found[f"{theirs}.conv.modulation.bias"] = s[f"{p}affine.bias"]
            if ours == "torgb":
                found[f"{theirs}.bias"] = s[f"{p}bias"].view(1, 3, 1, 1)
                if k:
                    found[f"{theirs}.upsample.kernel"] = blur
                continue
            found[f"{theirs}.activate.bias"] = s[f"{p}bias"]
            found[f"{theirs}.noise.weight"] = s[f"{p}noise_strength"].view(1)
            found[f"noises.noise_{noise}"] = s[f"{p}noise_const"][None, None]
            noise += 1
            if ours == "conv0":
                found[f"{theirs}.conv.blur.kernel"] = blur
    return found


def rosinality(G, legacy=False, average=True):
    """{"g_ema", "latent_avg"} and what a training run keeps beside."""
    found = {"g": {"input.input": torch.zeros(1)}, "g_ema": rosinality_names(G), "d_optim": {"state": {0: {"step": 3}}}}
    found["args"] = argparse.Namespace(size=G.resolution)
    return saved(found | ({"latent_avg": G.mapping.w_avg} if average else {}), legacy)


def e4e(G):
    """An encoder and its decoder, with the mean of w in every row."""
    state = {f"decoder.{name}": t for name, t in rosinality_names(G).items()}
    state |= {"encoder.input_layer.0.weight": torch.randn(2, 3, 3, 3)}
    rows = G.mapping.w_avg.repeat(G.num_ws, 1)
    return saved({"state_dict": state, "latent_avg": rows, "opts": {"device": "cuda:0", "stylegan_size": 16}})


def genforce(G, legacy=False):
    """{"generator_smooth"} by genforce, of StyleGAN2 or, with a bias in the label's embedding, of StyleGAN2-ADA."""
    s, found = G.state_dict(), {"synthesis.early_layer.const": G.state_dict()["synthesis.b4.const"][None]}
    found["truncation.w_avg"], found["synthesis.lod"] = s["mapping.w_avg"], torch.zeros(())
    c_dim = G.settings["c_dim"]
    if c_dim and G.settings["label_norm"] == "joint":
        found["mapping.label_weight"] = s["mapping.embed.weight"].T / math.sqrt(c_dim)
    elif c_dim:
        found["mapping.LabelEmbed.weight"] = s["mapping.embed.weight"]
        found["mapping.LabelEmbed.bias"] = s["mapping.embed.bias"]
    for i in range(G.settings["mapping_layers"]):
        found[f"mapping.dense{i}.weight"], found[f"mapping.dense{i}.bias"] = (
            s[f"mapping.fc{i}.weight"],
            s[f"mapping.fc{i}.bias"],
        )
    for k, r in enumerate(2**k for k in range(2, int(math.log2(G.resolution)) + 1)):
        for ours, theirs in (("conv0", f"layer{2 * k - 1}"), ("conv1", f"layer{2 * k}"), ("torgb", f"output{k}")):
            p, q = f"synthesis.b{r}.{ours}.", f"synthesis.{theirs}."
            if f"{p}weight" not in s:
                continue
            weight = s[f"{p}weight"]
            found[f"{q}weight"] = weight.flip(2, 3) if ours == "conv0" else weight
            found[f"{q}style.weight"], found[f"{q}style.bias"] = s[f"{p}affine.weight"], s[f"{p}affine.bias"] - 1
            found[f"{q}bias"] = s[f"{p}bias"]
            if ours != "torgb":
                found[f"{q}noise"] = s[f"{p}noise_const"][None, None]
                found[f"{q}noise_strength"] = s[f"{p}noise_strength"]
            if ours == "conv0":
                found[f"{q}filter.kernel"] = 4 * s[f"synthesis.b{r}.resample_filter"][None, None]
    return saved({"generator": {}, "generator_smooth": found}, legacy)


# TensorFlow.js: a manifest and the shards beside it


def manifest(path, tensors, pack=lambda name: None, shards=1, wrapped=False):
    """Write numpy arrays as a manifest; returns the numbers that a reader should find, in float64.

    `pack` says for each name how its numbers are stored: uint8, uint16, float16, or None for the array's own type.
    """
    entries, data, expected = [], b"", {}
    for name, array in tensors.items():
        kind = pack(name)
        entry = {"name": name, "shape": list(array.shape), "dtype": "bool" if array.dtype == bool else str(array.dtype)}
        if kind in ("uint8", "uint16"):
            levels = 2 ** int(kind[4:]) - 1
            least, scale = float(array.min()), float(array.max() - array.min()) / levels or 1.0
            stored = np.rint((array - least) / scale).astype(kind)
            entry["quantization"] = {"dtype": kind, "scale": scale, "min": least}
            expected[name] = stored * scale + least
        else:
            stored = array.astype("float16") if kind == "float16" else array
            entry |= {"quantization": {"dtype": "float16"}} if kind == "float16" else {}
            expected[name] = stored.astype(np.float64)
        entries.append(entry)
        data += stored.tobytes()
    each = -(-len(data) // shards)
    names = [f"group1-shard{i + 1}of{shards}.bin" for i in range(shards)] if shards > 1 else [f"{path.stem}.bin"]
    for i, name in enumerate(names):
        (path.parent / name).write_bytes(data[i * each : (i + 1) * each])
    groups = [{"weights": entries, "paths": names}]
    path.write_text(json.dumps({"format": "graph-model", "weightsManifest": groups} if wrapped else groups))
    return expected


def face_api_shapes(network):
    """Names and shapes in face-api's manifests, written down from its package's model/ folder."""
    found = {}

    def conv(name, k, c_in, c_out):
        found.update({f"{name}/filters": (k, k, c_in, c_out), f"{name}/bias": (c_out,)})

    def separable(name, c_in, c_out):
        found.update({f"{name}/depthwise_filter": (3, 3, c_in, 1), f"{name}/pointwise_filter": (1, 1, c_in, c_out)})
        found[f"{name}/bias"] = (c_out,)

    def matrix(name, c_in, c_out):
        found.update({f"{name}/weights": (c_in, c_out), f"{name}/bias": (c_out,)})

    def scaled(name, k, c_in, c_out):
        conv(f"{name}/conv", k, c_in, c_out)
        found.update({f"{name}/scale/weights": (c_out,), f"{name}/scale/biases": (c_out,)})

    if network in ("landmarks", "expression"):
        for i, (c_in, c_out) in enumerate([(3, 32), (32, 64), (64, 128), (128, 256)]):
            conv("dense0/conv0", 3, 3, 32) if i == 0 else separable(f"dense{i}/conv0", c_in, c_out)
            for j in (1, 2, 3):
                separable(f"dense{i}/conv{j}", c_out, c_out)
        matrix("fc", 256, {"landmarks": 136, "expression": 7}[network])
    elif network == "age_gender":
        conv("entry_flow/conv_in", 3, 3, 32)
        blocks = ("entry_flow/reduction_block_0", "entry_flow/reduction_block_1", "exit_flow/reduction_block")
        for name, c_in, c_out in zip(blocks, (32, 64, 128), (64, 128, 256), strict=True):
            separable(f"{name}/separable_conv0", c_in, c_out)
            separable(f"{name}/separable_conv1", c_out, c_out)
            conv(f"{name}/expansion_conv", 1, c_in, c_out)
        for i in (0, 1):
            for j in (0, 1, 2):
                separable(f"middle_flow/main_block_{i}/separable_conv{j}", 128, 128)
        separable("exit_flow/separable_conv", 256, 512)
        matrix("fc/age", 512, 1)
        matrix("fc/gender", 512, 2)
    else:
        scaled("conv32_down", 7, 3, 32)
        c_in = 32
        for c_out, names in ((32, "1 2 3"), (64, "down 1 2 3"), (128, "down 1 2"), (256, "down 1 2 down_out")):
            for name in names.split():
                scaled(f"conv{c_out}_{name}/conv1", 3, c_in, c_out)
                scaled(f"conv{c_out}_{name}/conv2", 3, c_out, c_out)
                c_in = c_out
        found["fc"] = (256, 128)
    return found


def face_api(network, seed=0):
    """Random weights of a network of face-api in TensorFlow's layouts; numbers neither grow nor fade on their way."""
    draw = np.random.default_rng(seed)
    tensors = {}
    for name, shape in face_api_shapes(network).items():
        fan_in = math.prod(shape[:3] if len(shape) == 4 and not name.endswith("depthwise_filter") else shape[:-1][:2])
        spread = 0.2 if len(shape) == 1 else math.sqrt(1.5 / fan_in)
        tensors[name] = (draw.normal(0, spread, shape) + name.endswith("scale/weights")).astype(np.float32)
    return tensors
