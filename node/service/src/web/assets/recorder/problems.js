// What is said when something goes wrong: what happened, and what to do about it.

/** `{ title, text }` for an error of getUserMedia or getDisplayMedia. */
export function captureProblem(error, source) {
  const thing = source === 'screen' ? 'screen' : 'camera and microphone';
  switch (error?.name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return source === 'screen'
        ? { title: 'The screen was not shared', text: 'Choose “Share screen” again and pick a screen, a window or a tab. If nothing is asked, allow screen recording for this browser in the system’s settings.' }
        : { title: 'The camera is not allowed here', text: 'Allow the camera and the microphone for this page: the icon beside the address opens the permissions. Then try again.' };
    case 'NotFoundError':
    case 'OverconstrainedError':
      return { title: `No ${source === 'screen' ? 'screen' : 'camera'} was found`, text: 'Connect one, or switch it on, then try again. You can also send a finished file.' };
    case 'NotReadableError':
    case 'AbortError':
      return { title: `The ${thing} cannot be opened`, text: 'Another program may be using it. Close that program, then try again.' };
    default:
      return { title: `The ${thing} cannot be opened`, text: `The browser says: ${error?.message || error?.name || 'nothing more'}. Try again, or send a finished file.` };
  }
}

export const INSECURE = {
  title: 'Recording needs a secure page',
  text: 'Browsers open the camera and the screen only over https. Open this page by its https address. A finished file can be sent from here.',
};

export const NO_RECORDER = {
  title: 'This browser cannot record',
  text: 'Use a current version of Chrome, Edge, Firefox or Safari, or send a finished file.',
};

/** By the status of a problem document, or the close code less 4000. `final`: trying again is of no use. */
const BY_STATUS = {
  0: { title: 'The node cannot be reached', text: 'Check the network, then try again.' },
  400: { title: 'The node did not understand the request', text: 'The settings of this recorder are incomplete. Tell whoever put it here.' },
  401: { title: 'The node does not know this recorder', text: 'The environment or its hash is wrong. Tell whoever put the recorder here: both stand in the node’s configuration.' },
  403: { title: 'The node does not take recordings from this page', text: 'Tell whoever runs the node to add this site to its allowed origins.' },
  404: { title: 'The node no longer has this recording', text: 'It was deleted, or was never begun. Record it again.' },
  408: { title: 'The line was silent for too long', text: 'Try again.' },
  409: { title: 'This recording goes on somewhere else', text: 'Another window has taken it over. Finish it there.' },
  413: { title: 'The recording is too large', text: 'The node takes no more of it. Record a shorter one, or choose a smaller file.' },
  415: { title: 'This is not a recording', text: 'Choose a video or audio file, such as MP4, MOV, WebM or MKV.' },
  429: { title: 'Too many people are recording just now', text: 'The node takes yours as soon as there is room. Try again in a minute.' },
  503: { title: 'The node is restarting', text: 'Try again in a minute.' },
  507: { title: 'The node is full', text: 'It takes nothing new until space is freed. Tell whoever runs the node, or try again later.' },
};

/** `{ title, text }` for a problem document. */
export function nodeProblem(problem) {
  const status = problem?.status ?? 0;
  const known = BY_STATUS[status];
  if (known) return known;
  return {
    title: problem?.title || 'The node answered with an error',
    text: `${problem?.detail || `Its answer was ${status}.`} Try again; if it stays, tell whoever runs the node.`,
  };
}

const TOO_LONG = {
  title: 'The recording is too large',
  text: 'The node takes no more of it. What came before this is safe there and will be saved. Record a shorter one next time.',
};

/** `{ title, text }` for what transport.js calls `failed`. */
export function transportProblem(detail, size) {
  switch (detail.kind) {
    case 'refused':
      return detail.problem?.status === 413 ? TOO_LONG : nodeProblem(detail.problem);
    case 'closed-early':
      return {
        title: 'The node closed this recording',
        text: `The line was gone for too long. The node kept the first ${size(detail.offset)} of ${size(detail.total)}. Keep a copy of all of it here, then send that as a file.`,
      };
    case 'bytes-lost':
    case 'bytes-unknown':
      return {
        title: 'The node and this page do not agree',
        text: `The node has ${size(detail.offset)} of this recording, this page has sent ${size(detail.total)}. Keep a copy here and tell whoever runs the node.`,
      };
    default:
      return {
        title: 'This browser lost part of the recording',
        text: 'Its storage could not be read back. What the node has received is safe there.',
      };
  }
}
