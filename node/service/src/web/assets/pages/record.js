// The node's own recorder page: which environment to record for, then the recorder.
// In this order: `?env_id=…&hash=…`, the node's demo environment, a form.

import '/recorder/v1/holdfast-recorder.js';
import { h } from '/recorder/v1/dom.js';

const place = document.getElementById('place');

async function environment() {
  const asked = new URLSearchParams(location.search);
  if (asked.get('env_id')) return { env_id: asked.get('env_id'), env_hash: asked.get('hash') ?? '', asked };
  try {
    const answer = await fetch('/recorder/v1/demo.json', { cache: 'no-store' });
    if (answer.ok) return { ...await answer.json(), asked };
  } catch {
    // Not reachable: the form says what is needed.
  }
  return null;
}

function recorder({ env_id, env_hash, asked }) {
  const element = h('holdfast-recorder', {
    'env-id': env_id,
    hash: env_hash,
    'max-seconds': asked.get('max_seconds'),
    sources: asked.get('sources'),
    'auto-save': asked.has('auto_save'),
  });
  return element;
}

function form() {
  const field = (name, label, hint) => h('label', { class: 'field' }, h('span', {}, label),
    h('input', { name, required: true, autocomplete: 'off', spellcheck: 'false' }), h('small', {}, hint));
  return h('form', { class: 'card', method: 'get', action: '/' },
    h('h2', {}, 'Which environment?'),
    h('p', {}, 'A recorder belongs to an environment. Its id and its hash stand in the node’s configuration, and in the code that embeds the recorder in your pages.'),
    field('env_id', 'Environment', 'Such as “support-videos”'),
    field('hash', 'Hash', 'As it stands in the configuration'),
    h('button', { class: 'button primary' }, 'Open the recorder'));
}

const found = await environment();
place.replaceChildren(found ? recorder(found) : form());
place.removeAttribute('aria-busy');
