// Ours: the part of uPlot's interface that the review page uses.

/** Times, then one series after another; null where there is no point. */
export type AlignedData = (number | null)[][];

export interface Series {
  label?: string;
  value?: (self: uPlot, value: number | null) => string;
  points?: { show?: boolean };
  stroke?: string;
  fill?: string;
  width?: number;
  dash?: number[];
}

export interface Axis {
  font?: string;
  stroke?: string;
  grid?: { stroke?: string; width?: number };
  ticks?: { stroke?: string; width?: number; size?: number };
  size?: number;
  space?: number;
  incrs?: number[];
  values?: (self: uPlot, splits: number[]) => string[];
}

export interface Scale {
  time?: boolean;
  range?: [number, number] | ((self: uPlot, min: number, max: number) => [number, number]);
}

export interface Options {
  width: number;
  height: number;
  cursor?: { y?: boolean; drag?: { x?: boolean; y?: boolean } };
  scales?: Record<string, Scale>;
  axes?: Axis[];
  series: Series[];
}

export default class uPlot {
  constructor(options: Options, data: AlignedData, target: HTMLElement);
  setSize(size: { width: number; height: number }): void;
  destroy(): void;
}
