// How loud a sound is in each 10 ms of the audio clock. Runs in the playback worklet too;
// knows samples only.

const BIN_MS = 10;

export class Envelope {
  /**
   * @param {number} rate
   * @param {(n: number, power: number) => void} onBin gets the mean square over the
   *   samples from n to n + 1 times 10 ms
   */
  constructor(rate, onBin) {
    this.size = (rate * BIN_MS) / 1000;
    this.onBin = onBin;
    this.sum = 0;
    this.next = NaN; // the sample that must come, or this is another stretch of sound
  }

  /**
   * @param {Float32Array} samples
   * @param {number} start time of the first sample, in samples
   */
  add(samples, start) {
    if (start !== this.next) this.sum = 0;
    for (let i = 0; i < samples.length; i += 1) {
      this.sum += samples[i] * samples[i];
      if ((start + i + 1) % this.size) continue;
      this.onBin((start + i + 1) / this.size - 1, this.sum / this.size);
      this.sum = 0;
    }
    this.next = start + samples.length;
  }
}
