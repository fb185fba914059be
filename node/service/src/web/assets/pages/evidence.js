// What the node can show an auditor: each promise and what was found, the volumes, who signed.

import { button, h, icon, size } from '/recorder/v1/dom.js';
import { Api, Problem, keepKey, keyOfThisTab } from './api.js';
import { REFUSED, showKeyForm } from './key.js';

const content = document.getElementById('content');
const tools = document.getElementById('tools');
const notice = document.getElementById('notice');
const when = document.getElementById('when');
const at = new Intl.DateTimeFormat(undefined, { dateStyle: 'long', timeStyle: 'long' });
const MOODS = new Map([[true, ['good', 'Kept']], [false, ['bad', 'Not kept']], [null, ['warn', 'Not known']]]);

function notify(text) {
  notice.hidden = !text;
  notice.replaceChildren(...(text ? [icon('warn'), h('span', {}, text)] : []));
}

function instant(text) {
  return h('time', { datetime: text }, at.format(new Date(text)));
}

function sentence(text) {
  // A program's or a file's name begins as it is written.
  const whole = /^[a-z]+[ ,.]/.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
  return whole.replace(/[.]?$/, '.');
}

function promiseLine({ name, promise, holds, found }) {
  const [mood, word] = MOODS.get(holds ?? null);
  return h('li', { class: 'promise', 'data-name': name }, h('span', { class: 'chip', 'data-mood': mood }, word),
    h('div', {}, h('p', { class: 'what' }, promise), h('p', { class: 'why' }, sentence(found))));
}

function rows(pairs) {
  return h('dl', {}, ...pairs.filter(([, value]) => value != null && value !== '').flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
}

function volumePart(volume, luks) {
  const { header, kernel, opened, reencryption, slots = [], tpm2 = [], erased = [] } = luks ?? {};
  const slot = ({ number, purpose, source, made }) => `${number}: ${[purpose, source].filter(Boolean).join(', ')}${made ? `, since ${made.slice(0, 10)}` : ''}`;
  const bound = ({ pcrs, signed_pcrs: signed, unseals }) => [`PCRs ${pcrs.join(', ')}`, signed.length && `signed ${signed.join(', ')}`, unseals === false && 'does not unseal it now'].filter(Boolean).join('; ');
  const list = (all, line) => (all.length ? h('ul', {}, ...all.map((each) => h('li', {}, line(each)))) : null);
  return h('section', { class: 'volume' }, h('h3', {}, volume.name, ' ', h('span', { class: 'chip', 'data-mood': volume.state === 'ready' ? 'good' : 'bad' }, volume.state.replace('_', '-'))),
    rows([
      ['Folder', h('code', {}, volume.path)],
      ['The kernel says', volume.encryption],
      ['Free', volume.free_bytes == null ? null : size(volume.free_bytes)],
      ['Cipher', header && `${header.cipher}, ${header.key_bits} bits, sectors of ${header.sector_bytes} bytes`],
      ['Integrity', header && (header.integrity ?? 'none')],
      ['Discards', kernel && (kernel.discards ? 'passed on to the disk' : 'not passed on')],
      ['Kernel as header', kernel && (kernel.is_as_header ? 'yes' : 'no')],
      ['Opened with', opened && [`${opened.by}, slot ${opened.slot}, `, instant(opened.at)]],
      ['Did not open with', list(opened?.tried ?? [], (why) => sentence(why))],
      ['Bound to the TPM', list(tpm2, bound)],
      ['Re-encrypted', reencryption && `${Math.floor(100 * reencryption.bytes_done / Math.max(1, reencryption.bytes_total))} %`],
      ['Key slots', slots.length ? h('ul', {}, ...slots.map((each) => h('li', {}, slot(each)))) : null],
      ['Erased before', list(erased, ({ uuid, erased_at: at }) => [`${uuid}, `, instant(at)])],
      ['Header backup', luks && (luks.header_backup ? instant(luks.header_backup) : 'none')],
    ]));
}

function show(evidence, file) {
  const { promises, volumes, luks, audit_head: head, erasure } = evidence;
  const broken = promises.filter(({ holds }) => holds === false).length;
  const unknown = promises.filter(({ holds }) => holds == null).length;
  const said = [broken && `${broken} not kept`, unknown && `${unknown} not known`, `${promises.length - broken - unknown} kept`].filter(Boolean).join(', ');
  when.replaceChildren(`${evidence.node}, ${evidence.profile}, version ${evidence.version}, `, instant(evidence.made_at), `: ${said}.`);
  const its = (volume) => (luks ?? []).find(({ header }) => header && header.uuid.replaceAll('-', '') === volume.luks_uuid);
  content.replaceChildren(
    h('h2', {}, 'Promises'),
    h('ul', { class: 'promises' }, ...promises.map(promiseLine)),
    h('h2', {}, 'Volumes'),
    ...(volumes.length ? volumes.map((volume) => volumePart(volume, its(volume))) : [h('p', {}, 'None could be looked into.')]),
    h('h2', {}, 'Signature'),
    rows([
      ['Key', h('code', {}, evidence.key)],
      ['Signature', h('code', {}, evidence.signature)],
      ['Newest entry of the audit log', head && [`${head.seq}, `, h('code', {}, head.hash)]],
      ['Epoch of recordings’ keys', erasure && ['since ', instant(erasure.epoch_began_at), `; destroyed up to ${erasure.destroyed}`]],
      ['To check it', h('code', {}, 'holdfast evidence --check evidence.json --key key.pem')],
    ]));
  content.removeAttribute('aria-busy');
  tools.hidden = false;
  tools.replaceChildren(
    h('a', { class: 'button', href: file, download: 'evidence.json' }, icon('download'), h('span', {}, 'evidence.json')),
    button('Print', { onclick: () => print() }));
}

async function begin(key) {
  keepKey(key);
  notify('');
  try {
    const evidence = await new Api(key).evidence();
    // As the node said it: what is signed is its canonical form, so how it is laid out does not matter.
    const file = new Blob([JSON.stringify(evidence, null, 2)], { type: 'application/json' });
    show(evidence, URL.createObjectURL(file));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.status === 401) return void ask(true);
    content.replaceChildren();
    content.removeAttribute('aria-busy');
    notify(error.message);
  }
}

function ask(refused = false) {
  keepKey(null);
  tools.hidden = true;
  when.textContent = '';
  showKeyForm(content, 'The evidence is open to holders of a key for this node’s API.', begin);
  notify(refused ? REFUSED : '');
}

const key = keyOfThisTab();
if (key) begin(key);
else ask();
