// Check receipts of INSi Agent on an application's server, and the rotations of the keys that sign them. No I/O.
//
// Copy this file; it needs Node 18 or later and nothing else. MIT licence. What a receipt proves, how IT enrols
// workstations and each word of REASONS: docs/receipts.md of INSi Agent. verify_receipt.py says the same in Python.
//
// `accepted`: what IT enrolled, what `insi-agent identity show` printed on each workstation, read from JSON.
// Never a key that came with a page, with hello or with a receipt. Sources: RFC 7515, RFC 7638, RFC 8037, RFC 8725.

import { createHash, createPublicKey, verify } from "node:crypto";

export const REASONS = `malformed critical algorithm type unknown enrolment signature challenge origin environment
  installation ended early old confirmation`.split(/\s+/);
const COMPACT = /^([A-Za-z0-9_-]{1,1024})\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{85}[AQgw])$/;
const KEY = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;

/** A refusal. `reason`: one of REASONS. What was refused is not quoted. */
export class ReceiptError extends Error {
  constructor(reason) {
    super(reason);
    this.name = "ReceiptError";
    this.reason = reason;
  }
}

/**
 * What the workstation signed, as an object. `challenge`: the server's own, given out for this very request.
 *
 * With `nowS` (seconds since 1970) what says to be older than `maxAgeS` is refused. Throws ReceiptError.
 */
export function verifyReceipt(receipt, asked) {
  const { accepted, challenge, origin, environment, nowS, maxAgeS = 900, skewS = 300, ...misspelt } = asked;
  if (Object.keys(misspelt).length) throw new TypeError(`not asked here: ${Object.keys(misspelt)}`);
  if (!Array.isArray(accepted) || ![challenge, origin, environment].every((own) => own && typeof own === "string")) {
    throw new TypeError("accepted is an array; challenge, origin and environment are the server's own strings");
  }
  const [key, payload] = opened(receipt, "insi-receipt+jws", accepted);
  const { trace, iat: at } = payload;
  check(isObject(trace) && isCount(trace.seq) && isCount(at), "malformed");
  check(payload.challenge === challenge, "challenge");
  check(trace.origin === origin, "origin");
  check(trace.environment === environment, "environment");
  check(environment === "simulated" || !key.simulated, "environment"); // a simulator's key is no secret
  check(payload.instanceId === key.instanceId, "installation");
  check(at <= (key.notLaterThan ?? at), "ended");
  check((nowS ?? null) === null || at <= nowS + skewS, "early");
  check((nowS ?? null) === null || at >= nowS - maxAgeS, "old");
  return payload;
}

/**
 * `accepted` with the key that follows one of its keys, which itself counts up to `notLaterThan`, an iat.
 *
 * `statement`: of `former` in what `identity show` prints, brought by IT, never by a page. Throws ReceiptError.
 */
export function acceptRotation(accepted, statement) {
  const [former, claims] = opened(statement, "insi-rotation+jws", accepted);
  const { instanceId, iat: at, to } = claims;
  const kid = thumbprint(to);
  check(thumbprint(claims.from) === former.thumbprint && kid && isCount(at), "malformed");
  check(instanceId === former.instanceId, "installation");
  const follower = { instanceId, simulated: former.simulated, thumbprint: kid, publicKey: to };
  const [, agreed] = opened(claims.confirmation, "insi-rotation-confirmation+jws", [follower]);
  const same = agreed.from === former.thumbprint && agreed.instanceId === instanceId && agreed.iat === at;
  check(same && Object.keys(agreed).length === 3, "confirmation");
  if (isCount(former.notLaterThan)) { // followed before. Not added again: IT may have removed it since
    check(former.notLaterThan === at, "ended");
    return accepted;
  }
  const ended = accepted.map((one) => (one.thumbprint === former.thumbprint ? { ...one, notLaterThan: at } : one));
  return ended.some((one) => one.thumbprint === kid) ? ended : [...ended, follower];
}

/** The enrolled key that signed this statement of this kind, and what it says. */
function opened(text, kind, accepted) {
  const found = typeof text === "string" && COMPACT.exec(text);
  check(found, "malformed");
  const [, head, body, signature] = found;
  const header = object(head);
  check(!("crit" in header), "critical");
  check(header.alg === "EdDSA", "algorithm");
  check(header.typ === kind, "type");
  const { kid } = header;
  const [key, ...again] = accepted.filter((one) => typeof kid === "string" && one.thumbprint === kid);
  check(key, "unknown");
  const says = ({ instanceId, simulated, notLaterThan = null }) => JSON.stringify([instanceId, simulated, notLaterThan]);
  for (const one of [key, ...again]) { // a line that was collected twice counts once
    const whole = typeof one.instanceId === "string" && typeof one.simulated === "boolean" && says(one) === says(key);
    check(whole && isCount(one.notLaterThan ?? 0) && kid && thumbprint(one.publicKey) === kid, "enrolment");
  }
  const { kty, crv, x } = key.publicKey;
  const jwk = createPublicKey({ key: { kty, crv, x }, format: "jwk" });
  check(verify(null, Buffer.from(`${head}.${body}`), jwk, Buffer.from(signature, "base64url")), "signature");
  return [key, object(body)];
}

/** RFC 7638 thumbprint of an Ed25519 key that is called by it; else an empty one. */
function thumbprint(jwk) {
  if (!isObject(jwk) || typeof jwk.x !== "string" || !KEY.test(jwk.x)) return "";
  const { crv, kty, x, kid } = jwk;
  const members = JSON.stringify({ crv: "Ed25519", kty: "OKP", x });
  const digest = createHash("sha256").update(members).digest("base64url");
  return crv === "Ed25519" && kty === "OKP" && kid === digest ? digest : "";
}

/** The JSON object in base64url that was written in the one right way. */
function object(text) {
  const data = Buffer.from(text, "base64url");
  let value;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data));
  } catch {
    throw new ReceiptError("malformed");
  }
  check(isObject(value) && data.toString("base64url") === text, "malformed");
  return value;
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isCount = (value) => Number.isSafeInteger(value) && value >= 0;

function check(holds, otherwise) {
  if (!holds) throw new ReceiptError(otherwise);
}
