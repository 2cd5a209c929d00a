// Copyright 2026 The vla_ros Authors
// SPDX-License-Identifier: Apache-2.0

// The websocket: it comes back by itself, and says of everything drawn that it was seen. The
// server sends nothing on top of what was not seen, and counts a page in control that is silent
// for two seconds as lost.

const RETRY_MS = 500;
const SILENCE_MS = 1500;

export class Connection {
  constructor(handlers) {
    this.handlers = handlers;
    this.pending = new Map();
    this.number = 0;
    this.received = 0;
    this.open();
    setInterval(() => this.checkSilence(), 250);
  }

  open() {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const socket = new WebSocket(`${scheme}://${location.host}/ws`);
    socket.binaryType = 'arraybuffer';
    socket.onmessage = (event) => this.receive(socket, event.data);
    socket.onclose = () => {
      if (this.socket !== socket) return;
      this.rejectPending('the connection was lost');
      this.handlers.lost();
      setTimeout(() => this.open(), RETRY_MS);
    };
    this.socket = socket;
    this.received = performance.now();
  }

  // A connection that was cut in the middle does not say so.
  checkSilence() {
    if (performance.now() - this.received > SILENCE_MS) this.handlers.lost();
  }

  // Returns a promise of the reply to a command.
  request(message) {
    if (this.socket.readyState !== WebSocket.OPEN) {
      return Promise.resolve({ ok: false, message: 'there is no connection' });
    }
    this.number += 1;
    this.send({ ...message, id: this.number });
    return new Promise((resolve) => this.pending.set(this.number, resolve));
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  async receive(socket, data) {
    this.received = performance.now();
    if (typeof data !== 'string') {
      const length = new DataView(data).getUint32(0);
      const details = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
      const jpeg = new Blob([new Uint8Array(data, 4 + length)], { type: 'image/jpeg' });
      try {
        await this.handlers.image(details, await createImageBitmap(jpeg));
      } finally {
        if (socket === this.socket) this.send({ type: 'seen', what: 'image' });
      }
      return;
    }
    const message = JSON.parse(data);
    if (message.type === 'reply') {
      this.pending.get(message.id)?.(message);
      this.pending.delete(message.id);
    } else if (message.type === 'state') {
      try {
        this.handlers.state(message);
      } finally {
        this.send({ type: 'seen', what: 'state' });
      }
    } else if (message.type === 'hello') {
      this.handlers.hello(message);
    }
  }

  rejectPending(reason) {
    for (const resolve of this.pending.values()) resolve({ ok: false, message: reason });
    this.pending.clear();
  }
}
