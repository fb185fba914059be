// The node's test of itself: run from here, each check with what was found and what to do.

import { button, h, icon } from '/recorder/v1/dom.js';
import { open } from './dialogs.js';

const MOODS = { passed: ['good', 'Passed'], warning: ['warn', 'Warning'], failed: ['bad', 'Failed'], not_applicable: ['', 'Nothing to test'] };
const NAMES = { ledger: 'Ledger', volume: 'Volume', film: 'A film of a test recording', encoders: 'Encoders', destination: 'Destination', clock: 'Clock', certificate: 'Certificate', key: 'The node’s key' };

function line({ name, of, outcome, found, todo }) {
  const [mood, word] = MOODS[outcome] ?? ['', outcome];
  return h('li', { 'data-name': name, 'data-of': of, 'data-outcome': outcome }, h('span', { class: 'chip', 'data-mood': mood }, word),
    h('div', {}, h('p', { class: 'what' }, NAMES[name] ?? name, of && ` ${of}`), h('p', {}, found),
      todo && h('p', { class: 'todo' }, h('b', {}, 'What to do: '), todo)));
}

function summary({ ok, checks, duration_ms: ms }) {
  const count = (outcome) => checks.filter((check) => check.outcome === outcome).length;
  const [failed, warned] = [count('failed'), count('warning')];
  const said = ok ? warned ? `Nothing failed, ${warned} of ${checks.length} with a warning` : 'All is well' : `${failed} of ${checks.length} failed`;
  return `${said}. It took ${(ms / 1000).toFixed(1)} s.`;
}

export function selftest(api) {
  const said = h('p', { role: 'status' });
  const list = h('ul', { class: 'tests', tabindex: '0', 'aria-label': 'Checks' });
  const again = button('Test again', { onclick: run, glyph: 'again' });
  const dialog = h('dialog', { 'aria-labelledby': 'selftest-title' },
    h('div', { class: 'bar' }, h('h2', { id: 'selftest-title' }, 'Self-test of this node'), h('div', {},
      h('button', { class: 'button quiet', type: 'button', 'aria-label': 'Close', onclick: () => dialog.close() }, icon('close')))),
    h('div', { class: 'sheet' }, said, list, h('div', { class: 'row' }, again)));

  async function run() {
    again.disabled = true;
    list.hidden = true;
    said.textContent = 'The node makes a film of a test recording, and writes a small file to each volume and destination. This may take two minutes.';
    try {
      const tested = await api.selftest();
      list.replaceChildren(...tested.checks.map(line));
      list.hidden = false;
      said.textContent = summary(tested);
    } catch (error) {
      said.textContent = error.message;
    }
    again.disabled = false;
  }

  open(dialog);
  run();
}
