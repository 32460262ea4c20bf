"""Names and layouts of other people's StyleGAN2, a file each; `detect` finds out which one it is."""
