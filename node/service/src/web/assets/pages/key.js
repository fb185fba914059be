// Asking for a key to the node's API, on every page that needs one.

import { h, icon } from '/recorder/v1/dom.js';

export const REFUSED = 'The node does not know this key. Its keys are named in the configuration, under operate.keys.';

/** Shows the question in `place`; `begin(key)` is called with what is given. */
export function showKeyForm(place, whom, begin) {
  const input = h('input', { type: 'password', name: 'key', required: true, autocomplete: 'off', spellcheck: 'false' });
  const form = h('form', { class: 'card' }, h('h2', {}, 'Open with a key'),
    h('p', {}, `${whom} It is kept for this tab only.`),
    h('label', { class: 'field' }, h('span', {}, 'Key'), input),
    h('button', { class: 'button primary' }, icon('key'), h('span', {}, 'Open')));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (input.value.trim()) begin(input.value.trim());
  });
  place.replaceChildren(form);
  place.removeAttribute('aria-busy');
  input.focus();
}
