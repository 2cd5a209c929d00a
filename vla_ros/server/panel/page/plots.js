// Copyright 2026 The vla_ros Authors
// SPDX-License-Identifier: Apache-2.0

// Lines over the last seconds, one row for each quantity.

const SECONDS = 20; // as the legend says

export class Plots {
  constructor(element) {
    this.element = element;
    this.rows = new Map();
  }

  // Draws a value now: measured, and commanded where there is one.
  add(name, text, measured, commanded) {
    const row = this.rows.get(name) ?? this.make(name);
    const now = performance.now() / 1000;
    row.samples.push([now, measured, commanded]);
    while (row.samples[0][0] < now - SECONDS) row.samples.shift();
    row.value.textContent = text;
    draw(row.canvas, row.samples, now);
  }

  make(name) {
    const element = document.createElement('div');
    element.className = 'plot';
    const label = document.createElement('div');
    const title = document.createElement('div');
    title.className = 'name';
    title.textContent = name;
    const value = document.createElement('div');
    value.className = 'value';
    label.append(title, value);
    const canvas = document.createElement('canvas');
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', `${name} over the last ${SECONDS} seconds`);
    element.append(label, canvas);
    this.element.append(element);
    const row = { canvas, value, samples: [] };
    this.rows.set(name, row);
    return row;
  }
}

function draw(canvas, samples, now) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (!width || !height) return;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d');
  context.clearRect(0, 0, width, height);
  const values = samples.flatMap(([, ...pair]) => pair.filter((value) => value !== null
    && value !== undefined));
  if (!values.length) return;
  let low = Math.min(...values);
  let high = Math.max(...values);
  // What stands still is a line, not magnified noise.
  const least = Math.max(0.02, 0.02 * Math.abs(high));
  if (high - low < least) [low, high] = [(low + high - least) / 2, (low + high + least) / 2];
  for (const [index, line, dash] of [[2, 'commanded', [5 * ratio, 4 * ratio]],
    [1, 'measured', []]]) {
    // The legend's colour: that of light or dark, whichever it is now.
    context.strokeStyle = getComputedStyle(document.getElementById(line)).color;
    context.lineWidth = 2 * ratio;
    context.setLineDash(dash);
    context.beginPath();
    let isOn = false;
    for (const sample of samples) {
      const value = sample[index];
      if (value === null || value === undefined) {
        isOn = false;
        continue;
      }
      const x = width * (1 - (now - sample[0]) / SECONDS);
      const y = height * (0.92 - 0.84 * (value - low) / (high - low));
      if (isOn) context.lineTo(x, y);
      else context.moveTo(x, y);
      isOn = true;
    }
    context.stroke();
  }
}
