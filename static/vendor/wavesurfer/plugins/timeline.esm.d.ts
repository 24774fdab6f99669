// Ours: the part of the plugin's interface that the review page uses.

export interface Options {
  height?: number;
  style?: Partial<CSSStyleDeclaration>;
  timeInterval?: number;
  primaryLabelInterval?: number;
  formatTimeCallback?: (seconds: number) => string;
}

export default class Timeline {
  private constructor();
  static create(options: Options): Timeline;
  destroy(): void;
}
