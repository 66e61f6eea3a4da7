// Talk to INSi Agent from a web page: find it, converse, understand its errors. MIT licence.
//
// One plain ES module without dependency or build: copy this file. It obeys the agent's protocol,
// API level 1. The page must be served over https (or from this machine), its origin must be allowed
// in the agent, and its CSP must hold `connect-src http://127.0.0.1:* ws://127.0.0.1:*`.

export const VERSION = "1.0.0";
export const DEFAULT_PORTS = [19847, 19848, 19849, 19850];

const API_LEVELS = [1];
const SUBPROTOCOL = "insi-agent.v1";
const ANSWER_MS = 2_000; // an agent that runs answers on the loopback in milliseconds
const PERSON_MS = 120_000; // a person reads the browser's question
const ASKING_MS = 1_000; // no answer after this while the permission is "prompt": the browser is asking
const LONGEST_PAUSE_MS = 15_000; // between two attempts to find the agent

// ---------------------------------------------------------------- errors

// What the agent cannot say itself. Same shape as its own catalogue: audience, retryable, message, action.
export const LOCAL_REASONS = {
  "agent.absent": row("person", true,
    "L'agent n'a pas été trouvé sur ce poste.", "The agent was not found on this workstation.",
    "Démarrer INSi Agent. S'il n'est pas installé, demander à l'informatique.", "Start INSi Agent. If it is not installed, ask IT."),
  "agent.refused": row("it", true,
    "Un programme répond sur ce poste, mais il refuse ce site.", "A program answers on this workstation but refuses this site.",
    "Demander à l'informatique d'autoriser ce site dans INSi Agent.", "Ask IT to allow this site in INSi Agent."),
  "agent.version": row("it", false,
    "L'agent et cette page n'ont pas de version en commun.", "The agent and this page have no version in common.",
    "Mettre INSi Agent à jour.", "Update INSi Agent."),
  "agent.lost": row("person", true,
    "La liaison avec l'agent a été coupée ; la demande a peut-être abouti.", "The link to the agent was cut; the request may have happened.",
    "Attendre le retour de l'agent et refaire la même demande.", "Wait until the agent is back and repeat the same request."),
  "browser.denied": row("person", true,
    "Le navigateur interdit à ce site de joindre l'agent.", "The browser forbids this site to reach the agent.",
    "Ouvrir les autorisations du site (à gauche de l'adresse) et autoriser l'accès aux applications de cet appareil.",
    "Open the site's permissions (left of the address) and allow access to apps on this device."),
  "browser.frame": row("developer", false,
    "Cette page est dans un cadre qui n'a pas le droit de joindre l'agent.", "This page is in a frame that may not reach the agent.",
    "Ajouter allow=\"loopback-network; local-network-access\" à l'iframe.", "Add allow=\"loopback-network; local-network-access\" to the iframe."),
  "browser.csp": row("developer", false,
    "La politique de sécurité de la page (CSP) interdit de joindre l'agent.", "The page's security policy (CSP) forbids reaching the agent.",
    "Ajouter http://127.0.0.1:* et ws://127.0.0.1:* à connect-src.", "Add http://127.0.0.1:* and ws://127.0.0.1:* to connect-src."),
  "browser.insecure": row("developer", false,
    "Cette page n'est pas servie en https : le navigateur lui interdit de joindre l'agent.", "This page is not served over https: the browser forbids it to reach the agent.",
    "Servir la page en https.", "Serve the page over https."),
  "operation.cancelled": row("person", true,
    "La demande a été annulée.", "The request was cancelled.",
    "Relancer la demande si besoin.", "Start again if needed."),
  "request.invalid": row("developer", false,
    "L'agent ne comprend pas cette demande.", "The agent does not understand this request.",
    "Comparer la demande au protocole de l'agent.", "Compare the request with the agent's protocol."),
};

function row(audience, retryable, fr, en, actionFr, actionEn) {
  return { audience, retryable, message: { fr, en }, action: { fr: actionFr, en: actionEn } };
}

/** Anything that went wrong: `reason` is the stable name, `message` and `action` are sentences for people. */
export class AgentError extends Error {
  constructor(data, lang = "fr") {
    super(data.message[lang] ?? data.message.fr);
    this.name = "AgentError";
    this.reason = data.reason;
    this.action = data.action[lang] ?? data.action.fr;
    this.audience = data.audience; // person | it | developer | support
    this.retryable = data.retryable;
    this.facts = data.facts ?? {};
  }

  /** An error of this module, by its name in LOCAL_REASONS. */
  static local(reason, lang, facts) {
    return new AgentError({ reason, ...LOCAL_REASONS[reason], facts }, lang);
  }
}

// ---------------------------------------------------------------- discovery

/** The browser's permission to reach this machine: a live PermissionStatus, or null where there is none to ask. */
export async function permission() {
  for (const name of ["loopback-network", "local-network-access"]) {
    try {
      return await navigator.permissions.query({ name });
    } catch {
      // A TypeError: this browser has no such name. They differ by browser and version.
    }
  }
  return null;
}

let cspBlocked = false;
globalThis.document?.addEventListener("securitypolicyviolation", (event) => {
  cspBlocked ||= /^(http|ws):\/\/127\.0\.0\.1\b/.test(event.blockedURI);
});

/**
 * Ask every port at once. `{state: "found", port, product, version, api, instanceId}`, or `{state: "refused" | "absent"}`.
 * A page sees no reason for a failed request, hence the second, opaque one: if that gets through, someone is there.
 */
export async function discover({ ports = DEFAULT_PORTS, timeoutMs = ANSWER_MS, signal } = {}) {
  const get = (port, options, ms) =>
    fetch(`http://127.0.0.1:${port}/.well-known/insi-agent`, {
      cache: "no-store", credentials: "omit", signal: AbortSignal.any([AbortSignal.timeout(ms), ...(signal ? [signal] : [])]), ...options,
    });
  const ask = async (port) => {
    const about = await (await get(port, { mode: "cors" }, timeoutMs)).json();
    if (!Array.isArray(about.api)) throw new TypeError("another program");
    return { state: "found", port, ...about };
  };
  try {
    return await Promise.any(ports.map(ask));
  } catch {
    const probes = await Promise.allSettled(ports.map((port) => get(port, { mode: "no-cors" }, ANSWER_MS)));
    return { state: probes.some((probe) => probe.status === "fulfilled") ? "refused" : "absent" };
  }
}

// ---------------------------------------------------------------- conversation

/**
 * Find the agent and stay connected to it, for as long as the page lives.
 *
 * `client` is `{name, version}` of the application; `challenge` is base64url text, or a function that
 * fetches a fresh one from the application's server before each hello.
 */
export function connect(options) {
  return new Agent(options);
}

class Agent extends EventTarget {
  /** searching | waitingForBrowser | connected | refused | absent */
  state = "searching";
  /** The AgentError behind "refused" and "absent". */
  error = null;
  /** What the agent said of itself; kept up to date by agent.changed. */
  hello = null;

  #options;
  #socket = null;
  #pending = new Map(); // request id → {resolve, reject, onProgress}
  #lastId = 0;
  #closed = false;
  #wake = () => {};

  constructor({ client, lang = "fr", challenge, ports = DEFAULT_PORTS }) {
    super();
    this.#options = { client, lang, challenge, ports };
    this.#run();
  }

  /** Call `handler` with the params of a notification, or with the new state for "state". Returns the way to stop. */
  on(event, handler) {
    const listener = ({ detail }) => handler(detail);
    this.addEventListener(event, listener);
    return () => this.removeEventListener(event, listener);
  }

  /**
   * The result of a method, or an AgentError. `onProgress({step, needs})` is called on the way;
   * aborting `signal` cancels the operation in the agent, which then answers operation.cancelled.
   */
  call(method, params = {}, { onProgress, signal } = {}) {
    if (this.state !== "connected") return Promise.reject(this.error ?? this.#local("agent.absent"));
    if (signal?.aborted) return Promise.reject(this.#local("operation.cancelled"));
    return this.#request(method, params, onProgress, signal);
  }

  /** Look for the agent now instead of at the end of the pause. */
  retry() {
    this.#wake();
  }

  /** Leave for good. */
  close() {
    this.#closed = true;
    this.#socket?.close(1000);
    this.#wake();
  }

  async #run() {
    const allowed = await permission();
    let stale = new AbortController();
    allowed?.addEventListener("change", () => {
      stale.abort(); // an attempt begun under the old answer may stay pending for ever
      this.#wake();
    });
    globalThis.addEventListener("online", () => this.#wake());
    globalThis.document?.addEventListener("visibilitychange", () => document.hidden || this.#wake());
    let pause = ASKING_MS;
    while (!this.#closed) {
      // Never "absent" while the person has not answered the browser; a page of this machine is not asked at all.
      const asking = setTimeout(() => allowed?.state === "prompt" && this.#become("waitingForBrowser"), ASKING_MS);
      stale = new AbortController();
      try {
        await this.#open(allowed?.state === "prompt" ? PERSON_MS : ANSWER_MS, stale.signal);
        clearTimeout(asking);
        pause = ASKING_MS;
        await this.#ended();
      } catch (error) {
        clearTimeout(asking);
        this.#socket?.close();
        if (stale.signal.aborted) continue;
        const reason = await this.#explain(error, allowed);
        this.#become(reason === "agent.absent" ? "absent" : "refused", this.#local(reason));
      }
      if (!this.#closed) await this.#sleep(pause);
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    }
  }

  /** Discovery, socket, hello. Throws an AgentError, or whatever the browser throws. */
  async #open(patienceMs, signal) {
    const { client, lang, challenge, ports } = this.#options;
    const found = await discover({ ports, timeoutMs: patienceMs, signal });
    if (found.state !== "found") throw this.#local(`agent.${found.state}`);
    if (!found.api.some((level) => API_LEVELS.includes(level))) throw this.#local("agent.version");
    const socket = new WebSocket(`ws://127.0.0.1:${found.port}/`, SUBPROTOCOL);
    this.#socket = socket;
    await new Promise((resolve, reject) => {
      const late = setTimeout(reject, patienceMs, this.#local("agent.refused"));
      socket.onopen = () => resolve(clearTimeout(late));
      // A refusal before the conversation is only ever close 1006 here.
      socket.onclose = () => reject(clearTimeout(late) ?? this.#local("agent.refused"));
    });
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    socket.onclose = ({ code }) => this.#lose(code);
    const hello = { apiLevels: API_LEVELS, client, lang };
    if (challenge) hello.challenge = typeof challenge === "function" ? await challenge() : challenge;
    this.hello = await this.#request("agent.hello", hello);
    this.#become("connected");
  }

  #ended() {
    const socket = this.#socket;
    if (socket.readyState === WebSocket.CLOSED) return Promise.resolve();
    return new Promise((resolve) => socket.addEventListener("close", resolve, { once: true }));
  }

  /** The most useful reason for a failure that the browser itself does not explain to scripts. */
  async #explain(error, allowed) {
    await new Promise((resolve) => setTimeout(resolve)); // the CSP event comes in its own task
    if (cspBlocked) return "browser.csp";
    if (error instanceof AgentError && !["agent.absent", "agent.refused"].includes(error.reason)) return error.reason;
    if (error?.reason !== "agent.refused" && globalThis.isSecureContext === false) return "browser.insecure";
    if (allowed?.state === "denied") {
      return globalThis.top !== globalThis.self ? "browser.frame" : "browser.denied";
    }
    return error?.reason ?? "agent.absent";
  }

  #request(method, params, onProgress, signal) {
    const id = ++this.#lastId;
    const cancel = () => this.#request("operation.cancel", { id }).catch(() => {}); // the operation itself will say
    const answer = new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject, onProgress }));
    signal?.addEventListener("abort", cancel, { once: true });
    this.#socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
    return answer.finally(() => signal?.removeEventListener("abort", cancel));
  }

  #receive({ id, method, params, result, error }) {
    if (method === "operation.progress") {
      this.#pending.get(params.id)?.onProgress?.(params);
    } else if (method) {
      if (method === "agent.changed") this.hello = { ...this.hello, ...params };
      this.#emit(method, params);
    } else if (this.#pending.has(id)) {
      const { resolve, reject } = this.#pending.get(id);
      this.#pending.delete(id);
      if (error) reject(this.#understand(error));
      else resolve(result);
    }
  }

  #understand({ code, message, data }) {
    if (data?.reason) return new AgentError(data, this.#options.lang);
    return this.#local("request.invalid", { rpcCode: code, rpcMessage: message });
  }

  #lose(code) {
    if (this.state === "connected") this.#become("searching"); // first, so that nobody calls a dead socket
    const error = this.#local(code === 4003 ? "agent.version" : "agent.lost");
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  #become(state, error = null) {
    if (state === this.state && error?.reason === this.error?.reason) return;
    this.state = state;
    this.error = error;
    if (state !== "connected") this.hello = null;
    this.#emit("state", state);
  }

  #emit(event, detail) {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }

  #sleep(ms) {
    return new Promise((resolve) => {
      const end = setTimeout(resolve, ms);
      this.#wake = () => resolve(clearTimeout(end));
    });
  }

  #local(reason, facts) {
    return AgentError.local(reason, this.#options.lang, facts);
  }
}

// ---------------------------------------------------------------- receipts

/**
 * Whether `receipt` was signed by `jwk`: `{state: "valid" | "invalid" | "unsupported", kid, payload}`.
 *
 * With the key of hello this only shows that the answer was not damaged. To rely on a receipt, the
 * application's server checks it against a thumbprint that it has enrolled beforehand.
 */
export async function verifyReceipt(receipt, jwk) {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const utf8 = new TextEncoder();
  try {
    const [head, body, signature, ...rest] = receipt.split(".");
    const [header, payload] = [head, body].map((part) => JSON.parse(new TextDecoder().decode(bytes(part))));
    const kid = await thumbprint(jwk);
    if (rest.length || header.alg !== "EdDSA" || header.kid !== kid) return { state: "invalid", kid, payload };
    const { kty, crv, x } = jwk;
    const key = await crypto.subtle.importKey("jwk", { kty, crv, x }, { name: "Ed25519" }, false, ["verify"]);
    const good = await crypto.subtle.verify("Ed25519", key, bytes(signature), utf8.encode(`${head}.${body}`));
    return { state: good ? "valid" : "invalid", kid, payload };
  } catch (error) {
    return { state: error.name === "NotSupportedError" ? "unsupported" : "invalid" };
  }
}

/** RFC 7638 thumbprint of an Ed25519 key: the `kid` of its receipts. */
export async function thumbprint({ crv, kty, x }) {
  return base64url(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify({ crv, kty, x }))));
}

/** base64url without padding. */
export function base64url(buffer) {
  const text = btoa(String.fromCharCode(...new Uint8Array(buffer)));
  return text.replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}
