"""FlowNet2 (Ilg et al., CVPR 2017), the optical flow of the published HF2-VAD inputs.

Not here: resizing and batches of frames (``pre_process.flow.flownet2``).
"""
