// Copyright 2026 The vla_ros Authors
// SPDX-License-Identifier: Apache-2.0

// The images, with the path of the tip, the instruction and the tokens over the main one.

const STALE_MS = 1500;

export class Cameras {
  constructor(element) {
    this.element = element;
    this.figures = new Map();
    setInterval(() => this.checkAges(), 250);
  }

  show(details, bitmap) {
    const one = this.figures.get(details.camera) ?? this.make(details.camera);
    if (one.canvas.width !== bitmap.width || one.canvas.height !== bitmap.height) {
      Object.assign(one.canvas, { width: bitmap.width, height: bitmap.height });
    }
    one.canvas.getContext('2d').drawImage(bitmap, 0, 0);
    bitmap.close();
    one.drawn = performance.now();
    one.age = details.age;
    this.label(one);
  }

  // Draws the policy's result over the newest image; null where it moves nothing.
  annotate(status, action) {
    const one = [...this.figures.values()][0];
    if (!one) return;
    one.instruction.textContent = status?.instruction ?? '';
    one.tokens.textContent = action?.tokens.length
      ? `tokens ${action.tokens.slice(0, 14).join(' ')}${action.tokens.length > 14 ? ' …' : ''}`
      : '';
    one.overlay.hidden = !one.instruction.textContent && !one.tokens.textContent;
    drawPath(one, action?.path ?? []);
  }

  make(name) {
    document.getElementById('no-image')?.remove();
    const figure = document.createElement('figure');
    if (!this.figures.size) figure.className = 'main';
    const screen = document.createElement('div');
    screen.className = 'screen';
    const canvas = document.createElement('canvas');
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', `image of ${name}`);
    const path = document.createElement('canvas');
    path.className = 'path';
    path.setAttribute('aria-hidden', 'true');
    const overlay = document.createElement('div');
    overlay.className = 'overlay';
    const instruction = document.createElement('div');
    const tokens = document.createElement('div');
    tokens.className = 'tokens';
    overlay.append(instruction, tokens);
    overlay.hidden = true;
    screen.append(canvas, path, overlay);
    const caption = document.createElement('figcaption');
    const title = document.createElement('span');
    title.textContent = name;
    const age = document.createElement('span');
    age.className = 'age';
    caption.append(title, age);
    figure.append(screen, caption);
    this.element.append(figure);
    const one = { figure, canvas, path, overlay, instruction, tokens, label: age, drawn: 0 };
    this.figures.set(name, one);
    return one;
  }

  label(one) {
    const silence = performance.now() - one.drawn;
    const isStale = silence > STALE_MS;
    one.figure.classList.toggle('stale', isStale);
    if (isStale) {
      one.label.textContent = `no image for ${(silence / 1000).toFixed(0)} s`;
    } else {
      one.label.textContent = one.age === null ? '' : `${(1000 * one.age).toFixed(0)} ms old`;
    }
  }

  checkAges() {
    for (const one of this.figures.values()) this.label(one);
  }
}

function drawPath(one, points) {
  // In the image's own pixels, three times as many, for thin lines on small images.
  const width = 3 * one.canvas.width;
  const height = 3 * one.canvas.height;
  if (one.path.width !== width || one.path.height !== height) {
    Object.assign(one.path, { width, height });
  }
  const context = one.path.getContext('2d');
  context.clearRect(0, 0, width, height);
  if (points.length < 2) return;
  const at = points.map(([x, y]) => [x * width, y * height]);
  for (const [color, line] of [['#000', 0.012], ['#ffe14d', 0.006]]) {
    context.strokeStyle = color;
    context.fillStyle = color;
    context.lineWidth = line * width;
    context.lineCap = 'round';
    context.lineJoin = 'round';
    context.beginPath();
    at.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.stroke();
    const [x, y] = at[at.length - 1];
    context.beginPath();
    context.arc(x, y, (0.006 + 0.6 * line) * width, 0, 2 * Math.PI);
    context.fill();
  }
}
