// Ours: the part of wavesurfer.js' interface that the review page uses.

export interface Channel {
  waveColor?: string;
  progressColor?: string;
}

export interface Options {
  container: HTMLElement;
  media?: HTMLMediaElement;
  cspNonce?: string;
  duration?: number;
  peaks?: Float32Array[];
  height?: number;
  barWidth?: number;
  barGap?: number;
  barRadius?: number;
  barMinHeight?: number;
  barHeight?: number;
  cursorWidth?: number;
  cursorColor?: string;
  dragToSeek?: boolean;
  autoCenter?: boolean;
  minPxPerSec: number;
  splitChannels?: Channel[];
}

export interface Plugin {
  destroy(): void;
}

export default class WaveSurfer {
  private constructor();
  static create(options: Omit<Options, "minPxPerSec">): WaveSurfer;
  readonly options: Options;
  on(event: "timeupdate" | "click" | "redraw" | "zoom", listener: () => void): () => void;
  setOptions(options: Partial<Options>): void;
  getCurrentTime(): number;
  setTime(seconds: number): void;
  getWidth(): number;
  getSrc(): string;
  load(url: string, peaks?: Float32Array[], duration?: number): Promise<void>;
  zoom(pxPerSecond: number): void;
  registerPlugin<P extends Plugin>(plugin: P): P;
  unregisterPlugin(plugin: Plugin): void;
}
