// Ours: the part of the plugin's interface that the review page uses.

export interface Options {
  maxZoom?: number;
  exponentialZooming?: boolean;
}

export default class Zoom {
  private constructor();
  static create(options: Options): Zoom;
  destroy(): void;
}
