// The tube: receives frames, and draws pixels that glow and fade. Draws only while something changes.

const still = matchMedia("(prefers-reduced-motion: reduce)");
const FADE = 0.62; // the share of a dark pixel's light that remains after a sixtieth of a second
const DARK = 0.03;

export class Screen {
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.small = document.createElement("canvas");
    this.resize(64, 32);
    this.recolour();
    new ResizeObserver(() => this.fit()).observe(canvas);
  }

  /** Decodes a frame (see the protocol in the README). Returns whether the buzzer sounds. */
  show(buffer) {
    const bytes = new Uint8Array(buffer);
    if (bytes.length < 6 || bytes[0] !== 1) return false;
    const large = (bytes[1] & 1) === 1;
    const [width, height] = large ? [128, 64] : [64, 32];
    if (bytes.length !== 6 + (width * height) / 8) return false;
    if (width !== this.width) this.resize(width, height);
    for (let at = 0; at < width * height; at++) {
      this.lit[at] = (bytes[6 + (at >> 3)] >> (7 - (at & 7))) & 1;
    }
    this.wake();
    return (bytes[1] & 2) === 2;
  }

  resize(width, height) {
    this.width = width;
    this.height = height;
    this.lit = new Uint8Array(width * height);
    this.light = new Float32Array(width * height);
    this.small.width = width;
    this.small.height = height;
    this.smallPen = this.small.getContext("2d");
    this.image = this.smallPen.createImageData(width, height);
    this.fit();
  }

  /** One device pixel of the canvas per pixel of the display, in whole steps of the machine's pixels. */
  fit() {
    const wide = this.canvas.clientWidth * devicePixelRatio;
    const step = Math.max(2, Math.round(wide / this.width));
    this.step = step;
    this.canvas.width = this.width * step;
    this.canvas.height = this.height * step;
    this.wake();
  }

  /** Takes the colours of the theme. */
  recolour() {
    const style = getComputedStyle(document.documentElement);
    this.ink = style.getPropertyValue("--ink").trim().split(/\s+/).map(Number);
    this.glow = Number(style.getPropertyValue("--glow")) || 0;
    this.wake();
  }

  wake() {
    if (!this.waking) {
      this.waking = true;
      requestAnimationFrame((now) => this.draw(now));
    }
  }

  draw(now) {
    this.waking = false;
    const sixtieths = Math.min(6, (now - (this.last ?? now)) / 16.7 || 1);
    this.last = now;
    const fade = still.matches ? 0 : FADE ** sixtieths;
    const { lit, light, image } = this;
    const [red, green, blue] = this.ink;
    let fading = false;
    for (let at = 0; at < lit.length; at++) {
      const level = lit[at] ? 1 : light[at] * fade;
      light[at] = level < DARK ? 0 : level;
      if (!lit[at] && light[at] > 0) fading = true;
      const to = at * 4;
      image.data[to] = red;
      image.data[to + 1] = green;
      image.data[to + 2] = blue;
      image.data[to + 3] = light[at] * 255;
    }
    this.smallPen.putImageData(image, 0, 0);
    const { pen, canvas } = this;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    // First the picture out of focus, for the light that spreads in the glass, then the sharp one on top.
    if (this.glow > 0) {
      pen.imageSmoothingEnabled = true;
      pen.imageSmoothingQuality = "high";
      pen.globalAlpha = this.glow;
      const spread = this.step * 0.6;
      for (const [x, y] of [[-spread, 0], [spread, 0], [0, -spread], [0, spread]]) {
        pen.drawImage(this.small, x, y, canvas.width, canvas.height);
      }
      pen.globalAlpha = 1;
    }
    pen.imageSmoothingEnabled = false;
    pen.drawImage(this.small, 0, 0, canvas.width, canvas.height);
    if (fading) this.wake();
    else this.last = undefined;
  }
}
