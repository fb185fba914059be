// The questions: deleting, holding, lifting. Each resolves to what the person decided.

import { h } from '/recorder/v1/dom.js';

export function open(dialog) {
  document.body.append(dialog);
  dialog.addEventListener('close', () => dialog.remove());
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.showModal();
}

/**
 * A heading, what there is to say, and two ways out. Resolves to true where the person means it, or
 * to what they wrote where there is something to write.
 */
function ask(title, says, { no, yes, kind = 'primary', field = null }) {
  return new Promise((resolve) => {
    let answer = false;
    const given = () => (field ? field.querySelector('input').value.trim() : true);
    const means = h('button', { class: `button ${kind}`, type: 'submit', value: 'yes' }, yes);
    const form = h('form', { class: 'sheet', method: 'dialog' },
      h('h2', { id: 'ask-title' }, title),
      ...says.filter(Boolean).map((text) => h('p', {}, text)),
      field,
      h('div', { class: 'row' },
        h('button', { class: 'button', type: 'submit', '.autofocus': !field, '.formNoValidate': true }, no),
        means));
    form.addEventListener('submit', (event) => {
      // Return in the field means the same as the button that goes on.
      const { submitter } = event;
      if (submitter === means || (field && submitter === null)) answer = given();
    });
    field?.querySelector('input').addEventListener('keydown', (event) => {
      if (event.key !== 'Enter') return;
      event.preventDefault();
      form.requestSubmit(means);
    });
    const dialog = h('dialog', { class: 'small', 'aria-labelledby': 'ask-title' }, form);
    dialog.addEventListener('close', () => resolve(answer));
    open(dialog);
  });
}

export function confirmRemoval(title, pushed) {
  return ask('Delete this recording?', [
    `“${title}” and everything this node holds of it are deleted at once. This cannot be undone.`,
    pushed && 'Copies that were delivered to a customer’s storage stay there.',
  ], { no: 'Keep it', yes: 'Delete', kind: 'danger' });
}

/** Resolves to the reason, or to false. */
export function askForHold(title) {
  const input = h('input', { name: 'reason', required: true, maxlength: '500', autocomplete: 'off', '.autofocus': true });
  return ask('Set a legal hold?', [
    `Until the hold is lifted, no rule and nobody deletes “${title}”.`,
  ], { no: 'Cancel', yes: 'Hold', field: h('label', { class: 'field' }, h('span', {}, 'Reason'), input, h('small', {}, 'Whoever may see the recording sees it. Write no personal data.')) });
}

export function confirmLift(title) {
  return ask('Lift the legal hold?', [
    `The rules decide about “${title}” again: what should have gone meanwhile goes at once.`,
  ], { no: 'Keep the hold', yes: 'Lift it', kind: 'danger' });
}

/** Said instead of asked: what is held cannot be deleted. Resolves to true where it is to be lifted. */
export function sayHeld(title, hold, mayLift) {
  const says = [`“${title}” is under a legal hold, set by ${hold.by}: ${hold.reason}`, 'It can be deleted once the hold is lifted.'];
  if (mayLift) return ask('This recording is held', says, { no: 'Close', yes: 'Lift the hold …', kind: '' });
  return new Promise((resolve) => {
    const dialog = h('dialog', { class: 'small', 'aria-labelledby': 'held-title' }, h('form', { class: 'sheet', method: 'dialog' },
      h('h2', { id: 'held-title' }, 'This recording is held'), ...says.map((text) => h('p', {}, text)),
      h('div', { class: 'row' }, h('button', { class: 'button', '.autofocus': true }, 'Close'))));
    dialog.addEventListener('close', () => resolve(false));
    open(dialog);
  });
}
