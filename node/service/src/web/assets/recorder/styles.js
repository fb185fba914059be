// The looks of <holdfast-recorder>. Constructable style sheets, so that neither this node's policy
// nor that of an embedding page has to allow inline styles.

const LIGHT = `
  --surface: #ffffff; --sunken: #f2f5f4; --ink: #14201d; --muted: #566560; --line: #dbe3e0;
  --accent: var(--holdfast-accent, #0b6b5c); --on-accent: var(--holdfast-on-accent, #ffffff);
  --record: var(--holdfast-record, #c8312c);
  --warn-surface: #fcf2da; --warn-ink: #664700; --bad-surface: #fceae9; --bad-ink: #8d1f1a;
  --good-surface: #e3f2ee; --good-ink: #0a5648; --shade: 0 1px 2px #14201d12, 0 12px 32px -12px #14201d26;
  color-scheme: light;
`;
const DARK = `
  --surface: #171d1f; --sunken: #1f2729; --ink: #edf2f0; --muted: #a5b3ae; --line: #303b3d;
  --accent: var(--holdfast-accent, #62cbb6); --on-accent: var(--holdfast-on-accent, #05231c);
  --record: var(--holdfast-record, #f2635c);
  --warn-surface: #372d13; --warn-ink: #f3d794; --bad-surface: #3d1f1e; --bad-ink: #ffb8b3;
  --good-surface: #17332e; --good-ink: #8fdfcd; --shade: 0 1px 2px #0006, 0 16px 40px -16px #000a;
  color-scheme: dark;
`;

const CSS = `
:host { ${LIGHT}
  display: block; container-type: inline-size; max-width: 100%;
  font: 400 1rem/1.5 var(--holdfast-font, system-ui, -apple-system, "Segoe UI", Inter, Roboto, "Helvetica Neue", sans-serif);
  color: var(--ink);
}
@media (prefers-color-scheme: dark) { :host { ${DARK} } }
:host([theme="light"]) { ${LIGHT} }
:host([theme="dark"]) { ${DARK} }
:host([hidden]), [hidden] { display: none !important; }
*, *::before, *::after { box-sizing: border-box; }
h2, p { margin: 0; }
button, select { font: inherit; color: inherit; }
button { cursor: pointer; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 3px; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.icon { width: 1.25em; height: 1.25em; flex: none; fill: none; stroke: currentColor; stroke-width: 1.7; stroke-linecap: round; stroke-linejoin: round; }
.icon.filled { fill: currentColor; stroke: none; }

.frame {
  position: relative; overflow: clip; background: var(--surface);
  border: 1px solid var(--line); border-radius: var(--holdfast-radius, 20px); box-shadow: var(--shade);
}
.stage {
  position: relative; display: grid; place-items: center; overflow: clip;
  aspect-ratio: var(--ratio, 16 / 9); background: var(--sunken);
}
.stage > * { grid-area: 1 / 1; }
video { width: 100%; height: 100%; min-height: 0; object-fit: contain; background: #0d1214; display: block; }
.live.mirrored { transform: scaleX(-1); }
[data-state="paused"] .stage { background: #0d1214; }
[data-state="paused"] .live { opacity: .45; }

/* What stands on the stage while there is no picture. */
.panel {
  display: flex; flex-direction: column; align-items: center; justify-content: center; gap: .625rem;
  width: 100%; height: 100%; padding: 2rem clamp(1rem, 5cqi, 3rem); text-align: center;
  background: var(--sunken); color: var(--ink); z-index: 1; overflow-wrap: anywhere;
}
.panel h2, ::slotted(h2) { font-size: clamp(1.125rem, 1rem + 1cqi, 1.5rem); font-weight: 620; letter-spacing: -.012em; line-height: 1.25; }
.panel p { max-width: 34em; color: var(--muted); text-wrap: pretty; }
.panel .name { max-width: 30em; }
.panel .figures, .time { font-variant-numeric: tabular-nums; }
.panel .aside { font-size: .875rem; margin-top: .75rem; }
.panel progress { margin: .75rem 0 .25rem; }
.actions { display: flex; flex-wrap: wrap; justify-content: center; gap: .75rem; margin-top: 1rem; }
.medal { display: grid; place-items: center; width: 3.5rem; height: 3.5rem; border-radius: 50%; background: var(--good-surface); color: var(--good-ink); font-size: 1.375rem; margin-bottom: .5rem; }
.medal.bad { background: var(--bad-surface); color: var(--bad-ink); }

.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .875rem; width: min(100%, 36rem); margin-top: 1.25rem; }
.tile {
  display: grid; justify-items: center; gap: .125rem; padding: 1.5rem 1rem 1.25rem; border-radius: 16px;
  border: 1px solid var(--line); background: var(--surface); transition: border-color .15s, translate .15s, box-shadow .15s;
}
.tile .icon { width: 2rem; height: 2rem; margin-bottom: .625rem; color: var(--accent); stroke-width: 1.4; }
.tile b { font-weight: 600; }
.tile small { color: var(--muted); font-size: .8125rem; }
.tile:hover { border-color: var(--accent); translate: 0 -2px; box-shadow: var(--shade); }
.tile[aria-disabled] { opacity: .62; translate: none; box-shadow: none; }
.dropping .panel { outline: 2px dashed var(--accent); outline-offset: -14px; background: var(--good-surface); }

progress {
  appearance: none; display: block; width: min(22rem, 100%); height: 6px; border: 0; border-radius: 3px; overflow: hidden;
  background: var(--line); color: var(--accent);
}
progress::-webkit-progress-bar { background: var(--line); }
progress::-webkit-progress-value { background: var(--accent); transition: width .3s; }
progress::-moz-progress-bar { background: var(--accent); }
progress:indeterminate { background: linear-gradient(90deg, var(--line) 30%, var(--accent) 50%, var(--line) 70%) 0 0 / 300% 100%; animation: slide 1.8s linear infinite; }
progress:indeterminate::-webkit-progress-bar { background: transparent; }
progress:indeterminate::-moz-progress-bar { background: transparent; }
.spinner { width: 2.25rem; height: 2.25rem; margin-bottom: .75rem; border: 3px solid var(--line); border-top-color: var(--accent); border-radius: 50%; animation: turn .9s linear infinite; }

/* On the picture. */
.badge, .meter {
  position: absolute; top: 1rem; z-index: 2; display: flex; align-items: center; gap: .5rem; height: 2rem; padding: 0 .75rem;
  border-radius: 1rem; background: #0d1214b8; backdrop-filter: blur(10px); color: #fff; font-size: .8125rem; font-weight: 550;
}
.badge { left: 1rem; }
.badge i { width: .625rem; height: .625rem; border-radius: 50%; background: #ff5a52; animation: breathe 1.6s ease-in-out infinite; }
[data-state="paused"] .badge i { animation: none; background: #cfd8d5; }
.meter { right: 1rem; }
.meter .icon { width: 1rem; height: 1rem; }
.meter span { display: flex; gap: 3px; }
.meter i { width: 3px; height: .75rem; border-radius: 2px; background: #ffffff40; transition: background-color .08s; }
.meter i.lit { background: #6fdcc5; }
.meter i.lit:nth-child(n + 10) { background: #ffc65c; }
.meter i.lit:nth-child(n + 12) { background: #ff7a70; }

.banner { display: flex; gap: .75rem; align-items: flex-start; padding: .75rem 1.25rem; background: var(--warn-surface); color: var(--warn-ink); font-size: .9375rem; line-height: 1.45; }
.banner .icon { margin-top: .1em; }

.bar { display: grid; grid-template-columns: 1fr auto 1fr; align-items: center; gap: 1rem; min-height: 6.75rem; padding: 1rem 1.25rem; }
.left, .centre, .right { display: flex; align-items: center; gap: 1.5rem; }
.right { justify-content: flex-end; }
.time { font-size: 1.5rem; font-weight: 600; letter-spacing: -.02em; }
.foot { display: flex; flex-wrap: wrap; gap: .75rem; padding: 0 1.25rem 1.25rem; }

.button {
  display: inline-flex; align-items: center; justify-content: center; gap: .5rem; min-height: 2.75rem; padding: .5rem 1.125rem;
  border: 1px solid var(--line); border-radius: 12px; background: var(--surface); color: var(--ink); font-weight: 560; text-decoration: none; white-space: nowrap;
  transition: background-color .15s, border-color .15s, filter .15s;
}
.button:hover { background: var(--sunken); }
.button.quiet { border-color: transparent; background: transparent; color: var(--muted); padding-inline: .75rem; }
.button.quiet:hover { background: var(--sunken); color: var(--ink); }
.panel .button.quiet:hover { background: var(--surface); }
.button.primary { border-color: transparent; background: var(--accent); color: var(--on-accent); }
.button.primary:hover { filter: brightness(1.08); }

.round { display: grid; justify-items: center; gap: .3rem; border: 0; padding: 0; background: none; border-radius: 14px; }
.round small { font-size: .8125rem; font-weight: 560; color: var(--muted); }
.disc { display: grid; place-items: center; width: 3.25rem; height: 3.25rem; border-radius: 50%; transition: transform .15s; }
.round:active .disc { transform: scale(.94); }
.round.plain .disc { background: var(--sunken); color: var(--ink); font-size: 1.125rem; }
.round.plain:hover .disc { background: var(--line); }
.round.plain .filled { color: var(--record); }
.round.record .disc { border: 3px solid color-mix(in srgb, var(--record) 35%, transparent); }
.round.record .disc::before { content: ""; width: 2.375rem; height: 2.375rem; border-radius: 50%; background: var(--record); transition: border-radius .25s, width .25s, height .25s, filter .15s; }
.round.record:hover .disc::before { filter: brightness(1.1); }
.round.stop .disc::before { width: 1.25rem; height: 1.25rem; border-radius: 5px; }
.round[aria-busy] .disc { animation: breathe 1.2s ease-in-out infinite; }

.chip { white-space: nowrap; display: inline-flex; align-items: center; gap: .4rem; font-size: .875rem; color: var(--muted); font-variant-numeric: tabular-nums; }
.chip .icon { color: var(--good-ink); }
.chip[data-mood="bad"] { color: var(--warn-ink); }
.chip[data-mood="bad"] .icon { color: inherit; }

.device { position: relative; display: flex; align-items: center; flex: 1 1 13rem; min-width: 0; }
.device .icon { position: absolute; left: .875rem; color: var(--muted); pointer-events: none; }
.device select {
  appearance: none; width: 100%; min-height: 2.75rem; padding: .5rem 2.25rem .5rem 2.75rem; border: 1px solid var(--line); border-radius: 12px;
  background: var(--surface); color: var(--ink); font-size: .9375rem; text-overflow: ellipsis;
}
.device::after { content: ""; position: absolute; right: 1.125rem; width: .45rem; height: .45rem; border: solid var(--muted); border-width: 0 1.6px 1.6px 0; rotate: 45deg; translate: 0 -2px; pointer-events: none; }
.foot img { display: block; height: 4.5rem; border-radius: 8px; background: var(--sunken); object-fit: cover; }
.foot .filmstrip { flex: 1 1 16rem; min-width: 0; }

@container (max-width: 560px) {
  .stage { aspect-ratio: var(--ratio, 4 / 3); }
  [data-state="choose"] .stage, [data-state="problem"] .stage, [data-state="unfinished"] .stage, [data-state="saved"] .stage:has(.panel:not([hidden])) { aspect-ratio: auto; min-height: 18rem; }
  .panel { padding: 1.75rem 1rem; }
  .tiles { grid-template-columns: 1fr; gap: .625rem; }
  .tile { grid-template-columns: auto 1fr; justify-items: start; column-gap: 1rem; padding: .875rem 1.125rem; }
  .tile .icon { grid-row: span 2; margin: 0; align-self: center; }
  .tile small { text-align: left; }
  .bar { grid-template-columns: 1fr 1fr; padding: .875rem 1rem; min-height: 0; }
  .centre { grid-area: 1 / 1 / 2 / -1; justify-content: center; }
  .left, .right { grid-row: 2; }
  :is([data-state="review"], [data-state="saved"]) .right { grid-area: 2 / 1 / 3 / -1; }
  :is([data-state="review"], [data-state="saved"]) .right .button { flex: 1; }
  :is([data-state="review"], [data-state="saved"]) .left { grid-area: 3 / 1 / 4 / -1; justify-content: center; }
  .left:empty, .right:empty, .centre:empty { display: none; }
  .left:has(+ .centre + .right:empty) { grid-column: 1 / -1; justify-content: center; }
  .time { font-size: 1.25rem; }
  .foot { padding: 0 1rem 1rem; }
  .device { flex-basis: 100%; }
  .badge, .meter { top: .75rem; } .badge { left: .75rem; } .meter { right: .75rem; }
}

@keyframes turn { to { rotate: 1turn; } }
@keyframes slide { from { background-position: 150% 0; } to { background-position: 0 0; } }
@keyframes breathe { 50% { opacity: .35; } }
@media (prefers-reduced-motion: reduce) {
  *, *::before, *::after { animation-duration: 6s !important; transition: none !important; }
  .tile:hover { translate: none; }
  .badge i { animation: none; }
}
@media (forced-colors: active) { .round .disc, .tile, .button { border: 1px solid ButtonText; } .round.record .disc::before { background: ButtonText; forced-color-adjust: none; } }
`;

const sheet = new CSSStyleSheet();
sheet.replaceSync(CSS);
export const sheets = [sheet];
