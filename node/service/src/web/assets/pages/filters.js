// Which recordings the list shows: by state, environment and time. The choice stands in the page's
// address, so that a reload and a link keep it.

import { h } from '/recorder/v1/dom.js';
import { STATE_NAMES } from './card.js';

const DAY_MS = 86_400_000;
const SPANS = [['', 'Any time'], ['1', 'Today'], ['7', 'Last 7 days'], ['28', 'Last 28 days'], ['days', 'Chosen days']];

const midnight = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate());
/** A day of a date input, at its beginning here. */
const dayOf = (text) => (/^\d{4}-\d\d-\d\d$/.test(text) ? new Date(`${text}T00:00:00`) : null);

export class Filters {
  #chosen = Object.fromEntries(['state', 'env_id', 'span', 'from', 'to'].map((name) => [name, new URLSearchParams(location.search).get(name) ?? '']));
  #onchange;
  #environments = h('select', { 'aria-label': 'Environment' });
  #known = [];
  #days;

  constructor(onchange) {
    this.#onchange = onchange;
    if (!STATE_NAMES.some(([state]) => state === this.#chosen.state)) this.#chosen.state = '';
    if (!SPANS.some(([span]) => span === this.#chosen.span)) this.#chosen.span = '';
  }

  get state() { return this.#chosen.state; }

  get any() { return Boolean(this.#chosen.state || this.#chosen.env_id || this.#chosen.span); }

  /** As the API takes them. */
  get wanted() {
    const { state, env_id: env, span, from, to } = this.#chosen;
    const wanted = { state, env_id: env };
    if (span === 'days') {
      wanted.from = dayOf(from)?.toISOString();
      const last = dayOf(to);
      if (last) wanted.to = new Date(last.getFullYear(), last.getMonth(), last.getDate() + 1).toISOString();
    } else if (span) {
      wanted.from = midnight(new Date(Date.now() - (Number(span) - 1) * DAY_MS)).toISOString();
    }
    return wanted;
  }

  get elements() {
    const select = (label, name, options) => {
      const made = h('select', { 'aria-label': label }, options.map(([value, text]) => h('option', { value, '.selected': value === this.#chosen[name] }, text)));
      made.addEventListener('change', () => this.#choose(name, made.value));
      return h('span', { class: 'pick' }, made);
    };
    const day = (label, name) => {
      const made = h('input', { type: 'date', 'aria-label': label, value: this.#chosen[name] });
      made.addEventListener('change', () => this.#choose(name, made.value));
      return made;
    };
    this.#days = h('span', { class: 'days', '.hidden': this.#chosen.span !== 'days' }, day('From', 'from'), h('span', { 'aria-hidden': 'true' }, 'to'), day('To', 'to'));
    this.#environments.addEventListener('change', () => this.#choose('env_id', this.#environments.value));
    this.#showEnvironments();
    return [
      select('Show', 'state', [['', 'All but deleted'], ...STATE_NAMES]),
      h('span', { class: 'pick' }, this.#environments),
      select('Time', 'span', SPANS),
      this.#days,
    ];
  }

  /** More environments have become known. */
  offer(ids) {
    const all = [...new Set([...this.#known, ...ids, this.#chosen.env_id].filter(Boolean))].sort();
    if (all.join('\n') === this.#known.join('\n')) return;
    this.#known = all;
    this.#showEnvironments();
  }

  #showEnvironments() {
    this.#environments.replaceChildren(...[['', 'All environments'], ...this.#known.map((id) => [id, id])]
      .map(([value, text]) => h('option', { value, '.selected': value === this.#chosen.env_id }, text)));
    this.#environments.parentElement?.toggleAttribute('hidden', this.#known.length < 2 && !this.#chosen.env_id);
  }

  #choose(name, value) {
    this.#chosen[name] = value;
    if (name === 'span') this.#days.hidden = value !== 'days';
    const query = new URLSearchParams(location.search);
    for (const [key, chosen] of Object.entries(this.#chosen)) {
      if (chosen) query.set(key, chosen);
      else query.delete(key);
    }
    history.replaceState(null, '', query.size ? `${location.pathname}?${query}` : location.pathname);
    this.#onchange();
  }
}
