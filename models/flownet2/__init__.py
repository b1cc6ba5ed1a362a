"""FlowNet2 (Ilg et al., CVPR 2017), the optical flow of the published HF2-VAD inputs."""
