"""Frame rate and sample rate of the model.

PersonaPlex is clocked: one frame each 80 ms (spec section 2). The site imports this
too, so it must not depend on torch.
"""

SAMPLE_RATE = 24_000  # Hz, everywhere outside the browser
FRAME_RATE = 12.5  # frames per second
FRAME_SAMPLES = 1_920  # samples of one frame at SAMPLE_RATE
FRAME_SECONDS = 0.08
FRAME_MS = 80
CODEBOOKS = 8  # audio codebooks of each side
STREAMS = 17  # text, 8 agent codebooks, 8 user codebooks
