// Copyright 2026 The vla_ros Authors
// SPDX-License-Identifier: Apache-2.0

// Shows the state, and turns buttons into commands. What is out of date is not shown as true.

import { Cameras } from './cameras.js';
import { Connection } from './connection.js';
import { Plots } from './plots.js';

const STATUS_TIMEOUT_S = 3;
const CONFIRM_MS = 1000;
const SECOND_PRESS_MS = 4000;
const EMPTY = '–';

const $ = (id) => document.getElementById(id);
const cameras = new Cameras($('cameras'));
const plots = new Plots($('plots'));
let me = '';
let last = null;
let isConnected = false;
let stopAt = 0;
let takeOverUntil = 0;

const connection = new Connection({
  hello: (message) => { me = message.you; },
  state: showState,
  image: (details, bitmap) => cameras.show(details, bitmap),
  lost: () => {
    isConnected = false;
    showBanner('none', 'NOT CONNECTED', 'nothing below is up to date', '');
    enable();
  },
});

function showState(state) {
  last = state;
  isConnected = true;
  const { status } = state;
  const isFresh = status && state.silence < STATUS_TIMEOUT_S;
  if (isFresh) {
    const loading = status.state === 'LOADING' ? ` ${Math.round(status.loading ?? 0)} %` : '';
    showBanner(status.state, status.state + loading,
      status.reason || status.instruction, status.control_mode);
  } else {
    showBanner('none', 'NO STATUS', status
      ? `no status of the inference node for ${state.silence.toFixed(0)} s`
      : 'no status of the inference node has come yet', '');
  }
  setText($('in-force'), isFresh ? status.instruction : '');
  const isMoving = isFresh && ['RUNNING', 'SHADOW'].includes(status.state);
  cameras.annotate(isFresh ? status : null, isMoving ? state.action : null);
  showControl(state);
  showStop(state, isFresh ? status.state : '');
  showNumbers(state, isFresh ? status : null);
  showEvents(state.events);
  enable();
}

function showBanner(kind, title, reason, controlMode) {
  $('banner').dataset.state = kind;
  // Written only when it changes: a screen reader reads out each change.
  setText($('state'), title);
  setText($('control-mode'), controlMode ?? '');
  setText($('reason'), reason);
  const word = `${title} – vla_panel`;
  if (document.title !== word) document.title = word;
}

function showControl(state) {
  const isMine = state.control === me;
  setText($('holder'), isMine ? 'You are in control.'
    : state.control ? `${state.control} is in control.` : 'Nobody is in control.');
  const isSecond = performance.now() < takeOverUntil;
  setText($('take'), isMine ? 'Release control' : !state.control ? 'Take control'
    : isSecond ? 'Press again to take over' : 'Take over');
}

function showStop(state, mode) {
  const waited = performance.now() - stopAt;
  const isUnconfirmed = state.stop.pressed && mode !== 'ESTOP' && waited > CONFIRM_MS;
  const note = $('stop-note');
  note.classList.toggle('alarm', isUnconfirmed);
  if (isUnconfirmed) {
    setText(note, 'The stop is not confirmed by the node: use the hardware emergency stop.');
  } else if (state.stop.pressed) {
    setText(note, 'Pressed. Release it, then re-arm. This is a software stop, not a certified '
      + 'emergency stop.');
  } else if (!state.stop.listeners) {
    setText(note, 'No node receives this stop. Use the hardware emergency stop.');
  } else {
    setText(note, 'Software stop (key Esc). It is not a certified emergency stop: keep the '
      + 'hardware emergency stop in reach.');
  }
}

function showNumbers(state, status) {
  const numbers = [
    ['age of the image', unit(status?.age, 1000, 0, 'ms')],
    ['inference', unit(status?.inference_rate, 1, 1, 'Hz')],
    ['camera', unit(status?.camera_rate, 1, 1, 'Hz')],
    ['commands', unit(status?.command_rate, 1, 1, 'Hz')],
    ['frames dropped', status?.dropped ?? EMPTY],
    ['frames failed', status?.failed ?? EMPTY],
    ['policy', [status?.device, status?.dtype].filter(Boolean).join(', ') || EMPTY],
    ['viewers', state.viewers],
  ];
  const limits = (status?.limits ?? []).filter(([, count]) => count);
  if (limits.length) {
    numbers.push(['limits', limits.map(([name, count]) => `${name} ${count}`).join(', ')]);
  }
  if (state.path_problem) numbers.push(['path of the tip', state.path_problem]);
  const list = $('numbers');
  while (list.children.length > numbers.length) list.lastChild.remove();
  numbers.forEach(([name, value], index) => {
    const entry = list.children[index] ?? list.appendChild(entryOf());
    setText(entry.firstChild, name);
    setText(entry.lastChild, String(value));
  });
  plots.add('age [ms]', '', scaled(status?.age, 1000), null);
  plots.add('inference [Hz]', '', status?.inference_rate ?? null, null);
  const isMeasured = state.joints_age !== null && state.joints_age < 1;
  for (const joint of state.joints) {
    plots.add(joint.name, isMeasured ? unit(joint.measured, 1, 3, '') : 'not measured',
      isMeasured ? joint.measured : null, joint.commanded);
  }
}

function entryOf() {
  const entry = document.createElement('div');
  entry.append(document.createElement('dt'), document.createElement('dd'));
  return entry;
}

function showEvents(events) {
  const list = $('events');
  const newest = events.length ? `${events[events.length - 1].time} ${events.length}` : '';
  if (list.dataset.newest === newest) return;
  list.dataset.newest = newest;
  list.replaceChildren(...events.toReversed().map((event) => {
    const item = document.createElement('li');
    const time = document.createElement('time');
    time.textContent = new Date(1000 * event.time).toLocaleTimeString([], { hour12: false });
    item.append(time, event.text);
    return item;
  }));
}

function enable() {
  const services = isConnected && last ? last.services : [];
  const isMine = isConnected && last && last.control === me;
  for (const button of document.querySelectorAll('[data-call], [data-needs]')) {
    const service = serviceOf(button);
    const isThere = !service || services.includes(service);
    button.disabled = !isConnected || !isThere || (button.dataset.needs === 'control' && !isMine);
    button.title = !isThere ? 'this service is not on the graph'
      : button.disabled ? 'take control first' : '';
  }
  $('release-stop').disabled ||= !last?.stop.pressed;
  $('take').disabled = !isConnected;
  for (const group of document.querySelectorAll('[data-group]')) {
    group.hidden = ![...group.querySelectorAll('button')].some(
      (button) => services.includes(serviceOf(button)));
  }
}

function serviceOf(button) {
  return button.dataset.call ?? button.dataset.service;
}

async function command(what, message) {
  const reply = await connection.request(message);
  const line = $('reply');
  line.classList.toggle('refused', !reply.ok);
  setText(line, `${what}${reply.ok ? ': done' : ''}${reply.message ? `: ${reply.message}` : ''}`);
}

// Over the websocket and beside it: whichever is there first.
function stop() {
  stopAt = performance.now();
  connection.send({ type: 'stop' });
  fetch('stop', { method: 'POST', keepalive: true }).catch(() => {
    if (!isConnected) {
      $('stop-note').classList.add('alarm');
      setText($('stop-note'), 'The stop could not be sent: use the hardware emergency stop.');
    }
  });
}

function take() {
  if (last.control === me) {
    command('Release control', { type: 'release' });
  } else if (!last.control) {
    command('Take control', { type: 'take' });
  } else if (performance.now() < takeOverUntil) {
    takeOverUntil = 0;
    command('Take over', { type: 'take', force: true });
  } else {
    takeOverUntil = performance.now() + SECOND_PRESS_MS;
    showControl(last);
  }
}

// Returns a listener that acts on the second of two presses.
function confirmed(button, act) {
  const label = button.textContent;
  let timer = null;
  const reset = () => {
    clearTimeout(timer);
    timer = null;
    setText(button, label);
  };
  return () => {
    if (timer) {
      reset();
      act();
    } else {
      setText(button, button.dataset.twice);
      timer = setTimeout(reset, SECOND_PRESS_MS);
    }
  };
}

function showTaskFields() {
  const success = $('success').value;
  const isNamed = ['topic', 'service'].includes(success);
  $('rest-time-field').hidden = success !== 'rest';
  $('rest-time').disabled = success !== 'rest'; // what is hidden must not be validated
  $('success-name-field').hidden = !isNamed;
  $('success-name').required = isNamed;
  setText($('success-name-field').firstElementChild,
    success === 'topic' ? 'Topic (std_msgs/Bool)' : 'Service (std_srvs/Trigger)');
}

function startTask(event) {
  event.preventDefault();
  const success = $('success').value;
  command('Start task', {
    type: 'start_task', instruction: $('instruction').value, timeout: Number($('timeout').value),
    success, success_name: $('success-name-field').hidden ? '' : $('success-name').value.trim(),
    rest_time: success === 'rest' ? Number($('rest-time').value) : 0,
  });
}

function unit(value, factor, digits, name) {
  return value === null || value === undefined ? EMPTY
    : `${(factor * value).toFixed(digits)} ${name}`.trim();
}

function scaled(value, factor) {
  return value === null || value === undefined ? null : factor * value;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Before the click, which comes only when the finger is lifted.
$('stop').addEventListener('pointerdown', stop);
$('stop').addEventListener('click', (event) => { if (event.detail === 0) stop(); });
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') stop();
});
$('take').addEventListener('click', take);
$('release-stop').addEventListener('click',
  () => command('Release stop', { type: 'release_stop' }));
for (const button of document.querySelectorAll('[data-call]')) {
  const label = button.textContent;
  const call = () => command(label, { type: 'call', service: button.dataset.call });
  button.addEventListener('click', button.dataset.twice ? confirmed(button, call) : call);
}
$('instruct').addEventListener('submit', (event) => {
  event.preventDefault();
  command('Instruction', { type: 'instruct', instruction: $('instruction').value });
});
$('success').addEventListener('change', showTaskFields);
$('task').addEventListener('submit', startTask);
showTaskFields();
enable();
