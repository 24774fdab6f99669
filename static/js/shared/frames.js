// The duration of a frame, the unit of every conversation.

export const FRAME_MS = 80;
export const FRAME_S = FRAME_MS / 1000;
export const FRAMES_PER_SECOND = 1000 / FRAME_MS;
