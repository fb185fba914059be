// The list of recordings: asks for the key, shows the newest first, keeps itself up to date.

import { button, h, icon } from '/recorder/v1/dom.js';
import { Api, keepKey, keyOfThisTab } from './api.js';
import { Card, MOVING, titleOf } from './card.js';
import { askForHold, confirmLift, confirmRemoval, sayHeld } from './dialogs.js';
import { Filters } from './filters.js';
import { REFUSED, showKeyForm } from './key.js';
import { nodeLine, showBanner } from './node.js';
import { download, play } from './player.js';
import { selftest } from './selftest.js';

const PAGE = 50;
const REFRESH_MS_MOVING = 2_500;
const REFRESH_MS_STILL = 20_000;

const content = document.getElementById('content');
const tools = document.getElementById('tools');
const count = document.getElementById('count');
const node = document.getElementById('node');
const notice = document.getElementById('notice');
const banner = document.getElementById('banner');
const said = document.getElementById('said');

const cards = new Map(); // id → Card
let api = null;
let mayManage = true; // until the node says otherwise of this key
let next = null;
let order = [];
let laidOut = null; // the ids on the page, or null while something else stands there
let timer = null;
let epoch = 0;

const filters = new Filters(() => {
  clearList();
  refresh();
});

const watcher = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    cards.get(target.dataset.id)?.seen();
  }
}, { rootMargin: '300px' });

function notify(text) {
  notice.hidden = !text;
  notice.replaceChildren(...(text ? [icon('warn'), h('span', {}, text)] : []));
}

// ── the key ────────────────────────────────────────────────────────────────────────────────────

function askForKey(refused = false) {
  epoch += 1;
  clearTimeout(timer);
  api = null;
  keepKey(null);
  tools.hidden = node.hidden = true;
  showBanner(banner, null);
  count.textContent = '';
  notify(refused ? REFUSED : '');
  showKeyForm(content, 'The list is open to holders of a key for this node’s API.', begin);
}

function begin(key) {
  keepKey(key);
  api = new Api(key);
  mayManage = true;
  notify('');
  showTools();
  api.environments().then(({ environments }) => filters.offer(environments.map(({ id }) => id)), () => {});
  clearList();
  content.replaceChildren(h('div', { class: 'list', 'aria-hidden': 'true' }, [1, 2, 3].map(() => h('div', { class: 'skeleton' }))));
  content.setAttribute('aria-busy', 'true');
  refresh();
}

function showTools() {
  if (!tools.hidden) return;
  tools.hidden = false;
  tools.replaceChildren(...filters.elements, button('Self-test', { onclick: () => selftest(api), kind: 'quiet', glyph: 'check' }), button('Lock', { onclick: () => askForKey(), kind: 'quiet', glyph: 'key' }));
}

function clearList() {
  epoch += 1;
  for (const card of cards.values()) card.close();
  cards.clear();
  order = [];
  laidOut = null;
  next = null;
}

// ── the list ───────────────────────────────────────────────────────────────────────────────────

async function refresh() {
  clearTimeout(timer);
  if (!api) return;
  const mine = epoch;
  try {
    const [page] = await Promise.all([firstPage(), showNode()]);
    if (mine !== epoch) return;
    merge(page);
    notify('');
  } catch (error) {
    if (mine !== epoch) return;
    if (error.status === 401) return void askForKey(true);
    if (order.length) notify(error.message);
    else showError(error);
  }
  schedule();
}

const isWanted = (recording) => filters.state || recording.state !== 'deleted';

/** The newest; further ones where all of these were deleted. */
async function firstPage() {
  let page = await api.list({ ...filters.wanted, limit: PAGE });
  while (page.next && !page.recordings.some(isWanted)) {
    page = await api.list({ ...filters.wanted, limit: PAGE, cursor: page.next });
  }
  return page;
}

function schedule() {
  clearTimeout(timer);
  if (document.hidden) return;
  const moving = [...cards.values()].some((card) => MOVING.has(card.recording.state));
  timer = setTimeout(refresh, moving ? REFRESH_MS_MOVING : REFRESH_MS_STILL);
}

/** The first page anew; what was loaded beyond it stays below. */
function merge(page) {
  const recordings = page.recordings.filter(isWanted);
  const fresh = recordings.map((recording) => recording.id);
  const oldest = fresh.at(-1);
  const last = order.indexOf(oldest);
  const beyond = page.next === null || last < 0 ? [] : order.slice(last + 1).filter((id) => !fresh.includes(id));
  if (!beyond.length) next = page.next;
  put([...fresh, ...beyond], recordings);
}

function put(ids, recordings) {
  for (const [id, card] of cards) {
    if (ids.includes(id)) continue;
    card.close();
    cards.delete(id);
  }
  filters.offer(recordings.map((recording) => recording.env_id));
  for (const recording of recordings) {
    let card = cards.get(recording.id);
    if (!card) {
      card = new Card(acts);
      cards.set(recording.id, card);
    }
    card.show(recording, mayManage);
  }
  order = ids;
  if (laidOut !== ids.join()) layOut();
  count.textContent = order.length ? `${order.length}${next ? ' newest' : ''} ${order.length === 1 ? 'recording' : 'recordings'}` : '';
}

function layOut() {
  content.removeAttribute('aria-busy');
  laidOut = order.join();
  if (!order.length) {
    content.replaceChildren(empty());
    return;
  }
  const list = content.querySelector('.list[data-live]') ?? h('ul', { class: 'list', 'data-live': true });
  // Moved only where the order differs: a playing scrub or the focus must not jump.
  order.forEach((id, i) => {
    const { element } = cards.get(id);
    if (list.children[i] !== element) list.insertBefore(element, list.children[i] ?? null);
    watcher.observe(element);
  });
  while (list.children.length > order.length) list.lastChild.remove();
  const more = next && h('div', { class: 'more' }, button('Show older ones', { onclick: (event) => older(event.currentTarget) }));
  content.replaceChildren(...[list, more].filter(Boolean));
}

async function older(trigger) {
  trigger.disabled = true;
  try {
    const page = await api.list({ ...filters.wanted, limit: PAGE, cursor: next });
    next = page.next;
    const recordings = page.recordings.filter(isWanted);
    put([...order, ...recordings.map((r) => r.id).filter((id) => !order.includes(id))], recordings);
    layOut();
  } catch (error) {
    notify(error.message);
    trigger.disabled = false;
  }
}

function empty() {
  if (filters.any) {
    return h('div', { class: 'empty' }, h('div', { class: 'medal' }, icon('check')), h('h2', {}, 'Nothing matches'),
      h('p', {}, 'There is no recording in this state, environment and time. Choose others above.'));
  }
  return h('div', { class: 'empty' }, h('div', { class: 'medal' }, icon('camera')), h('h2', {}, 'No recordings yet'),
    h('p', {}, 'They appear here as they come in: from the recorder in your pages, by upload, or from this node’s own page.'),
    h('a', { class: 'button primary', href: '/' }, 'Record one'));
}

function showError(error) {
  laidOut = null;
  content.removeAttribute('aria-busy');
  content.replaceChildren(h('div', { class: 'empty' }, h('div', { class: 'medal bad' }, icon('warn')),
    h('h2', {}, error.status ? 'The node answered with an error' : 'The node cannot be reached'), h('p', {}, error.message),
    button('Try again', { onclick: refresh, glyph: 'again' })));
}

// ── what can be done ───────────────────────────────────────────────────────────────────────────

/** Does it, says so or why not, and shows what has become of the recording. */
async function act(doing, done, not) {
  try {
    await doing();
    notify('');
    said.textContent = done;
  } catch (error) {
    if (error.status === 401) return void askForKey(true);
    if (error.status === 403) mayManage = false;
    notify(`${not} ${error.message}`);
  }
  refresh();
}

const acts = {
  picture: (url) => api.picture(url),
  explain: (id) => api.explain(id),
  attempts: (id) => api.attempts(id),
  play: (recording) => play(api, recording, acts),
  download: (recording) => download(api, recording, notify),
  async remove(recording) {
    const title = titleOf(recording);
    if (recording.hold) {
      if (await sayHeld(title, recording.hold, mayManage)) await acts.lift(recording);
      return;
    }
    if (!await confirmRemoval(title, recording.files?.some((file) => file.pushed?.length))) return;
    await act(() => api.remove(recording.id), `${title} is deleted.`, 'It was not deleted.');
  },
  async hold(recording) {
    const reason = await askForHold(titleOf(recording));
    if (reason) await act(() => api.hold(recording.id, reason), 'The legal hold is set.', 'The hold was not set.');
  },
  async lift(recording) {
    if (!await confirmLift(titleOf(recording))) return;
    await act(() => api.lift(recording.id), 'The legal hold is lifted.', 'The hold was not lifted.');
  },
  retry: ({ id }) => act(() => api.retry(id), 'It is being tried now.', 'It was not tried again.'),
  push: ({ id }) => act(() => api.push(id), 'It is being pushed again.', 'It was not pushed again.'),
};

// ── the node ───────────────────────────────────────────────────────────────────────────────────

async function showNode() {
  const status = await api.status().catch(() => null);
  if (!status) return;
  if (status.caller?.scope) mayManage = status.caller.scope !== 'read';
  showBanner(banner, status);
  node.hidden = false;
  node.replaceChildren(...nodeLine(status));
}

document.addEventListener('visibilitychange', () => {
  if (!document.hidden && api) refresh();
});
addEventListener('online', () => api && refresh());
addEventListener('hashchange', () => {
  const key = keyOfThisTab();
  if (key) begin(key);
});

const key = keyOfThisTab();
if (key) begin(key);
else askForKey();
