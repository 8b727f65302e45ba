/** A typed client of Vigie's REST API, with pages, streams and webhooks. */

import { EventSourceParserStream } from "eventsource-parser/stream";
import createClient, { type Client } from "openapi-fetch";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

import type { components, paths } from "./schema.js";

export type { components, paths } from "./schema.js";
export { WebhookVerificationError };

/** An object of the API: `Schema<"AlertOut">`. */
export type Schema<Name extends keyof components["schemas"]> = components["schemas"][Name];

/** Where the API is, and a key. */
export interface Access {
  url: string;
  key: string;
}

/** The API refused a call; `problem.code` is stable. */
export class ProblemError extends Error {
  constructor(
    readonly status: number,
    readonly problem: { code?: string; detail?: string },
  ) {
    super(`${problem.code ?? `http_${status}`}: ${problem.detail ?? "no detail"}`);
  }
}

/** Makes a client with a method for each HTTP method, typed by path. */
export function createVigieClient({ url, key }: Access): Client<paths> {
  return createClient<paths>({
    baseUrl: url.replace(/\/$/, ""),
    headers: { Authorization: `Bearer ${key}` },
    querySerializer: { array: { style: "form", explode: true } },
  });
}

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** Returns the data of an answer, `undefined` if it has no body, or throws a `ProblemError`. */
export async function unwrap<T>(call: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await call;
  if (error !== undefined || !response.ok)
    throw new ProblemError(response.status, (error ?? {}) as { code?: string });
  return data as T;
}

/** Yields the entries of all pages. `call` gets the cursor of each page. */
export async function* iterateEntries<T>(
  call: (cursor: string | undefined) => Promise<Answer<{ data: T[]; next: string | null }>>,
): AsyncGenerator<T> {
  let cursor: string | undefined;
  do {
    const page = await unwrap(call(cursor));
    yield* page.data;
    cursor = page.next ?? undefined;
  } while (cursor !== undefined);
}

/** An event of a stream. Pass `offset` as `after` to resume after it. */
export interface StreamEvent {
  offset: string;
  type: string;
  data: Record<string, unknown>;
}

export interface FollowOptions {
  /** The stream; by default that of alerts. */
  path?: string;
  /** The offset to resume after; without it only new events. */
  after?: string;
  /** Query parameters. */
  filters?: Record<string, string | string[]>;
  /** Ends the iteration. */
  signal?: AbortSignal;
  /** How long a connection may be silent before it counts as broken (ms). A keep-alive comes every 15 s. */
  silenceMs?: number;
}

/**
 * Connects, then returns events that never end; resumes after a break. An event after the connection is not missed.
 * Throws a `ProblemError` if the API refuses.
 */
export async function followEvents(access: Access, options: FollowOptions = {}): Promise<AsyncGenerator<StreamEvent>> {
  const follower = new Follower(access, options);
  const first = await follower.connect();
  return follower.events(first);
}

/** Aborts a connection that is silent for too long. */
class SilenceWatch {
  readonly #silence = new AbortController();
  readonly signal: AbortSignal;

  constructor(
    readonly silenceMs: number,
    stop: AbortSignal | undefined,
  ) {
    this.signal = stop ? AbortSignal.any([stop, this.#silence.signal]) : this.#silence.signal;
  }

  async limit<T>(waiting: Promise<T>): Promise<T> {
    const fault = new TypeError(`The API was silent for ${this.silenceMs} ms.`);
    const timer = setTimeout(() => this.#silence.abort(fault), this.silenceMs);
    try {
      return await waiting;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Passes a body on. The time in which nobody reads does not count. */
  read(body: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
    const reader = body.getReader();
    return new ReadableStream({
      pull: async (controller) => {
        const { done, value } = await this.limit(reader.read());
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: (reason) => reader.cancel(reason),
    });
  }
}

class Follower {
  #offset: string | undefined;
  #waitMs = 3000;
  readonly #url: URL;

  constructor(
    readonly access: Access,
    readonly options: FollowOptions,
  ) {
    this.#offset = options.after;
    this.#url = new URL(access.url.replace(/\/$/, "") + (options.path ?? "/v1/events/stream"));
    for (const [name, value] of Object.entries(options.filters ?? {}))
      for (const each of [value].flat()) this.#url.searchParams.append(name, each);
  }

  async connect(): Promise<ReadableStream<Uint8Array>> {
    const headers: Record<string, string> = { Authorization: `Bearer ${this.access.key}` };
    if (this.#offset !== undefined) headers["Last-Event-ID"] = this.#offset;
    const watch = new SilenceWatch(this.options.silenceMs ?? 45_000, this.options.signal);
    const answer = await watch.limit(fetch(this.#url, { headers, signal: watch.signal }));
    // The answer of a proxy may be no JSON.
    if (answer.status >= 400 && answer.status < 500 && answer.status !== 429)
      throw new ProblemError(answer.status, await watch.limit(answer.json().catch(() => ({}))));
    if (!answer.ok) throw new TypeError(`The API answered ${answer.status}.`);
    this.#offset = answer.headers.get("last-event-id") ?? this.#offset;
    return watch.read(answer.body!);
  }

  async *events(first: ReadableStream<Uint8Array>): AsyncGenerator<StreamEvent> {
    let body: ReadableStream<Uint8Array> | undefined = first;
    for (let failures = 0; ; failures++) {
      try {
        body ??= await this.connect();
        const parser = new EventSourceParserStream({ onRetry: (ms) => (this.#waitMs = ms) });
        const text = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>);
        for await (const event of text.pipeThrough(parser) as unknown as AsyncIterable<SseMessage>) {
          failures = 0;
          yield { offset: event.id ?? "", type: event.event ?? "message", data: JSON.parse(event.data) };
          this.#offset = event.id ?? this.#offset;
        }
      } catch (error) {
        if (error instanceof ProblemError) throw error;
        if (this.options.signal?.aborted) return;
      }
      body = undefined;
      // Jitter, since other clients reconnect at the same time.
      const wait = Math.min(this.#waitMs * 2 ** failures, 30_000) * (0.5 + Math.random() / 2);
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

interface SseMessage {
  id?: string;
  event?: string;
  data: string;
}

/** Verifies the signature and age of a webhook, and returns its body. Throws a `WebhookVerificationError`. */
export function verifyWebhook(secret: string, headers: Record<string, string>, body: string): unknown {
  return new Webhook(secret).verify(body, headers);
}
