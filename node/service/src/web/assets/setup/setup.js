// The setup page: the code, then a configuration, then the end of the page.

import { button, h, icon, size } from '/recorder/v1/dom.js';

const place = document.getElementById('place');
const summary = document.getElementById('summary');
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const BROKEN_OFF = 'The box does not answer. Check that it is on and in this network, then try again.';

/** What is handed in; secrets by name, as bytes. The code stays in this page only. */
const given = { code: '', settings: '', secrets: new Map() };

async function ask(path, body) {
  try {
    const answer = await fetch(path, {
      method: 'POST',
      headers: { 'Holdfast-Setup-Code': given.code, 'Content-Type': 'application/json' },
      body: body && JSON.stringify(body),
    });
    return { ok: answer.ok, said: await answer.json() };
  } catch {
    return { ok: false, said: { problems: [BROKEN_OFF] } };
  }
}

function notice(kind, sentences, title) {
  return h('div', { class: `notice ${kind}`, role: kind === 'bad' ? 'alert' : 'status' }, title && h('strong', {}, title),
    sentences.length === 1 && !title ? sentences[0] : h('ul', {}, sentences.map((text) => h('li', {}, text))));
}

function show(...cards) {
  place.replaceChildren(...cards);
  place.removeAttribute('aria-busy');
}

function showCode() {
  const input = h('input', { class: 'code', name: 'code', required: true, autocomplete: 'off', autocapitalize: 'characters', spellcheck: 'false', maxlength: 100 });
  const said = h('div', {});
  const open = h('button', { class: 'button primary' }, icon('key'), h('span', {}, 'Open'));
  const form = h('form', { class: 'card' }, h('h2', {}, 'Code of this box'),
    h('p', {}, 'It is printed on the label, with the fingerprint of this page’s certificate. Compare that with what your browser shows before you type the code.'),
    h('label', { class: 'field' }, h('span', {}, 'Code'), input, h('small', {}, 'Dashes and small letters do not matter.')), said, open);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    // A header takes no other characters, and a code has none.
    given.code = input.value.replace(/[^\x21-\x7e]/g, '');
    if (!given.code) return;
    open.disabled = true;
    const answer = await ask('/setup/open');
    open.disabled = false;
    if (answer.ok) return showForm(answer.said);
    said.replaceChildren(notice('bad', answer.said.problems));
    input.focus();
    input.select();
  });
  show(form);
  input.focus();
}

function outcomeCard(outcome) {
  if (!outcome) return null;
  const seen = outcome.looked_at.map(({ folder, found }) => `${folder}: ${found}`);
  return h('section', { class: 'card' }, h('h2', {}, 'What the box found'),
    outcome.problems.length > 0 && notice('warn', outcome.problems, 'What is wrong'),
    seen.length > 0 && h('ul', {}, seen.map((text) => h('li', {}, text))));
}

function showForm(outcome) {
  const text = h('textarea', { name: 'config', spellcheck: 'false', autocomplete: 'off', wrap: 'off', required: true });
  const said = h('div', {});
  const files = h('ul', { class: 'files' });
  const chooser = h('input', { type: 'file', multiple: true, class: 'unseen', tabindex: -1, 'aria-label': 'Files' });
  const drop = h('div', { class: 'drop' }, h('p', {}, 'Drop holdfast.toml here, provision.toml, and the files it calls secrets – or choose them. Secrets go by their file names.'),
    chooser, button('Choose files', { glyph: 'file', onclick: () => chooser.click() }), files);

  const list = () => {
    const row = (name, bytes, remove) => h('li', {}, h('span', {}, `${name} · ${size(bytes)}`),
      h('button', { type: 'button', class: 'button quiet', 'aria-label': `Remove ${name}`, onclick: () => { remove(); list(); } }, icon('close')));
    files.replaceChildren(
      ...(given.settings ? [row('provision.toml', new Blob([given.settings]).size, () => { given.settings = ''; })] : []),
      ...[...given.secrets].map(([name, bytes]) => row(`secrets/${name}`, bytes.length, () => given.secrets.delete(name))));
  };
  const take = async (chosen) => {
    said.replaceChildren();
    for (const file of chosen) {
      if (file.size > 1 << 20) said.append(notice('bad', [`${file.name} is larger than any file that belongs here.`]));
      else if (file.name === 'holdfast.toml') text.value = (await file.text()).replace(/^\ufeff/, '');
      else if (file.name === 'provision.toml') given.settings = (await file.text()).replace(/^\ufeff/, '');
      else given.secrets.set(file.name, new Uint8Array(await file.arrayBuffer()));
    }
    list();
  };
  chooser.addEventListener('change', () => take([...chooser.files]));
  for (const kind of ['dragover', 'dragleave', 'drop']) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle('over', kind === 'dragover');
      if (kind === 'drop') take([...event.dataTransfer.files]);
    });
  }

  const send = async (path, done) => {
    const buttons = form.querySelectorAll('.buttons button');
    buttons.forEach((each) => { each.disabled = true; });
    const base64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
    const secrets = Object.fromEntries([...given.secrets].map(([name, bytes]) => [name, base64(bytes)]));
    const { ok, said: answer } = await ask(path, { config: text.value, settings: given.settings || null, secrets });
    buttons.forEach((each) => { each.disabled = false; });
    if (ok && !answer.problems.length) done();
    else said.replaceChildren(notice('bad', answer.problems, 'This cannot be used yet'));
    said.scrollIntoView({ block: 'nearest' });
  };
  const form = h('form', { class: 'card' }, h('h2', {}, 'Configuration'), drop,
    h('label', { class: 'field' }, h('span', {}, 'holdfast.toml'), text), said,
    h('div', { class: 'buttons' }, h('button', { class: 'button primary' }, icon('check'), h('span', {}, 'Hand in')),
      button('Check only', { onclick: () => send('/setup/check', () => said.replaceChildren(notice('good', ['This can be used. Nothing was handed in yet.']))) })));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    send('/setup/hand-in', showEnd);
  });
  const found = outcomeCard(outcome);
  show(...(found ? [found] : []), form);
  text.focus();
}

function showEnd() {
  given.code = '';
  given.secrets.clear();
  summary.textContent = 'The box has a configuration.';
  show(h('section', { class: 'card' }, notice('good', ['Handed in. The box takes it now and starts.']),
    h('p', {}, 'This page has ended. In a minute the node answers at the address in the configuration (node.listen). If it does not, the screen of the box says why, and this page is there again.')));
}

try {
  const state = await (await fetch('/setup/state')).json();
  document.getElementById('serial').textContent = state.serial ?? '';
  summary.textContent = sentence(state.summary);
} catch {
  summary.textContent = BROKEN_OFF;
}
showCode();
