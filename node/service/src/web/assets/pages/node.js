// The node's own line above the list, and the banner that says what it lacks.

import { h, icon, size } from '/recorder/v1/dom.js';

/** What is wrong with the node, in sentences for whoever can mend it. */
function troubles(status) {
  const { clock, missing = [] } = status;
  const said = missing.map((each) => (typeof each === 'string' ? each : each.detail ?? each.title ?? each.what));
  if (clock?.trusted === false) {
    const why = clock.detail ?? clock.why ?? 'It stands before an instant that the node has noted, or nobody keeps it right';
    said.unshift(`The node’s clock is not trusted. ${why.replace(/\.?$/, '.')} Nothing is deleted by any rule of time until this is mended.`);
  }
  for (const { name, state, why } of status.vault ?? []) {
    if (['away', 'refused', 'read_only', 'failing'].includes(state)) said.push(`The volume ${name} is ${state.replace('_', '-')}: ${why.replace(/\.?$/, '.')} What was recorded on it is not lost, and waits.`);
    else if (state === 'full') said.push(`The volume ${name} is full: ${why.replace(/\.?$/, '.')} Nothing new is recorded on it.`);
  }
  return said;
}

/** Changed only where it says something else, so that a screen reader does not say it again. */
export function showBanner(banner, status) {
  const said = status ? troubles(status) : [];
  if (banner.dataset.said === said.join('\n')) return;
  banner.dataset.said = said.join('\n');
  banner.hidden = !said.length;
  banner.replaceChildren(...said.map((text) => h('div', { class: 'notice bad' }, icon('warn'), h('p', {}, text))));
}

export function nodeLine(status) {
  const volumes = status.vault ?? [];
  const vaults = volumes.map(({ name, state, encrypted, encryption, path }) => h('span', {
    class: 'chip',
    'data-mood': state !== 'ready' ? 'bad' : encrypted ? 'good' : 'warn',
    title: `${path}: ${encryption}${encrypted ? '.' : ': whoever has this disk has the recordings.'}`,
  }, state !== 'ready' ? `${name}: ${state.replace('_', '-')}` : volumes.length > 1 ? `${name}: ${encrypted ? 'encrypted' : 'unencrypted'}` : `Vault: ${encryption}`));
  const warned = (status.destinations ?? []).filter(({ warning }) => warning).map(({ name, kind, warning }) => h('span', {
    class: 'chip', 'data-mood': 'warn', title: warning,
  }, `${name}: ${kind === 'ftp' ? 'plain FTP' : kind}`));
  const down = (status.destinations ?? []).filter(({ health }) => health?.open === false).map(({ name, health }) => h('span', {
    class: 'chip', 'data-mood': 'bad', title: `${health.error} It is probed again at ${new Date(health.probe_at).toLocaleTimeString()}.`,
  }, `${name}: down`));
  const encoders = (status.encoders ?? []).filter(({ hardware, state }) => hardware && state !== 'failed').map(({ name, device, state, why }) => h('span', {
    class: 'chip',
    'data-mood': state === 'aside' ? 'warn' : 'good',
    title: state === 'aside' ? `${device ?? name} failed too often and is left alone for a while: ${why}` : `Films are made on ${device ?? name}.`,
  }, state === 'aside' ? `${name}: set aside` : name));
  const free = volumes.reduce((sum, volume) => sum + (volume.free_bytes ?? 0), 0);
  const failed = status.counts?.failed ?? 0;
  return [
    h('span', {}, h('b', {}, String(status.node ?? 'Node')), status.version ? ` · ${status.version}` : ''),
    ...vaults,
    ...warned,
    ...down,
    ...encoders,
    volumes.length > 0 && h('span', {}, `${size(free)} free`),
    failed > 0 && h('span', { class: 'chip', 'data-mood': 'bad' }, `${failed} failed`),
  ].filter(Boolean);
}
