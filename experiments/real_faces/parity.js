// What face-api itself says of images: node parity.js PACKAGE FOLDER
//
// PACKAGE is the unpacked npm package, FOLDER holds images_SIDE.f32 (N, SIDE, SIDE, 3 in 0..255, little-endian) for the
// sides 112 and 150 and gets NAME.f32, an output each, as numbers one after another. TensorFlow.js is the one that
// the package bundles, on its CPU backend.

const fs = require("fs");
const path = require("path");

const [, , home, folder] = process.argv;
const source = fs.readFileSync(path.join(home, "dist", "face-api.js"), "utf8");
// The bundle is a page's script: it exports nothing, and what it would ask of node is left out of it. So node is hidden,
// and what TensorFlow.js needs of a platform is given.
const faceapi = new Function("process", `${source}; return faceapi`)();
const { tf } = faceapi;
tf.env().setPlatform("plain", { now: () => performance.now(), isTypedArray: (a) => ArrayBuffer.isView(a) });

function images(side) {
  const bytes = fs.readFileSync(path.join(folder, `images_${side}.f32`));
  const numbers = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const each = side * side * 3;
  return Array.from({ length: numbers.length / each }, (_, i) => numbers.slice(i * each, (i + 1) * each));
}

async function loaded(net) {
  const model = path.join(home, "model");
  const manifest = JSON.parse(fs.readFileSync(path.join(model, `${net.getDefaultModelName()}-weights_manifest.json`)));
  const shards = async (files) => files.map((file) => new Uint8Array(fs.readFileSync(file)).buffer);
  net.loadFromWeightMap(await tf.io.weightsLoaderFactory(shards)(manifest, model));
  return net;
}

function run(side, names, say) {
  const said = Object.fromEntries(names.map((name) => [name, []]));
  for (const pixels of images(side)) {
    const outputs = tf.tidy(() => say(new faceapi.NetInput([tf.tensor3d(pixels, [side, side, 3])])));
    names.forEach((name, i) => said[name].push(...outputs[i].dataSync()));
    tf.dispose(outputs);
  }
  for (const name of names) {
    fs.writeFileSync(path.join(folder, `${name}.f32`), Buffer.from(Float32Array.from(said[name]).buffer));
  }
}

(async () => {
  await tf.setBackend("cpu");
  await tf.ready();
  const points = await loaded(new faceapi.FaceLandmark68Net());
  run(112, ["landmarks"], (input) => [points.forwardInput(input)]);
  const expression = await loaded(new faceapi.FaceExpressionNet());
  run(112, ["expression"], (input) => [expression.runNet(input)]);
  const years = await loaded(new faceapi.AgeGenderNet());
  run(112, ["age", "gender"], (input) => {
    const { age, gender } = years.runNet(input);
    return [age, gender];
  });
  const recognition = await loaded(new faceapi.FaceRecognitionNet());
  run(150, ["recognition"], (input) => [recognition.forwardInput(input)]);
  console.log(`tfjs ${tf.version_core}, node ${process.version}`);
})();
