// Uses the TypeScript client whose types were generated from a running service's document.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./eventlogger.js";

type Schemas = components["schemas"];
type Api = Client<paths>;

const service = setting("SERVICE_URL");
const password = setting("ADMIN_PASSWORD");
const reader = setting("READER_TOKEN");

function setting(name: string): string {
  const value = process.env[name];
  assert(value, `${name} is not set`);
  return value;
}

function api(authorization: string): Api {
  return createClient<paths>({
    baseUrl: service,
    headers: { Authorization: authorization },
    // Conditions are parameters of their own, not `conditions[name]`.
    querySerializer: { object: { style: "form", explode: true } },
  });
}

function basic(user: string, secret: string): Api {
  return api(`Basic ${Buffer.from(`${user}:${secret}`).toString("base64")}`);
}

function accountEvent(account: number): Schemas["NewEvent"] {
  const data = { account_id: account, email: "john.doe@example.com" };
  return { event_type: "old_account", user_identity: "Asad_Zaman", event_data: data, outcome: "success" };
}

async function record(client: Api): Promise<Schemas["Recorded"]> {
  const { data, error } = await client.POST("/events", { body: accountEvent(1346) });
  assert(data?.receipt, JSON.stringify(error));
  return data;
}

async function recordMany(client: Api): Promise<Schemas["BatchItem"][]> {
  const accounts = [1346, 1347, 1346, 1347, 1346];
  const body = accounts.map(accountEvent);
  const { data, error } = await client.POST("/events/batch", { body, params: { query: { receipt: "none" } } });
  assert(data, JSON.stringify(error));
  assert.deepEqual([data.stored, data.rejected, data.results.length], [5, 0, 5]);
  return data.results.filter((_, index) => accounts[index] === 1346);
}

/** What no generator writes: one event per line. */
async function recordLines(): Promise<Schemas["BatchItem"][]> {
  const body = [1346, 1346, 1346].map((account) => JSON.stringify(accountEvent(account))).join("\n");
  const credentials = Buffer.from(`admin:${password}`).toString("base64");
  const headers = { Authorization: `Basic ${credentials}`, "Content-Type": "application/x-ndjson" };
  const answer = await fetch(`${service}/events/batch`, { method: "POST", headers, body });
  const result = (await answer.json()) as Schemas["BatchResult"];
  assert.equal(result.stored, 3);
  return result.results;
}

async function* eventsByUrl(client: Api, account: number): AsyncGenerator<Schemas["Event"]> {
  let cursor: string | undefined;
  do {
    const query = { conditions: { account_id: String(account) }, limit: 2, ...(cursor && { cursor }) };
    const { data, error } = await client.GET("/events/query", { params: { query } });
    assert(data, JSON.stringify(error));
    yield* data.events;
    cursor = data.next_cursor;
  } while (cursor);
}

async function* eventsByFilter(client: Api, account: number | string): AsyncGenerator<Schemas["Event"]> {
  const body: Schemas["EventQuery"] = { filter: { field: "event_data.account_id", value: account }, limit: 2 };
  for (;;) {
    const { data, error } = await client.POST("/events/query", { body });
    assert(data, JSON.stringify(error));
    yield* data.events;
    if (!data.next_cursor) return;
    body.cursor = data.next_cursor;
  }
}

async function sequence(events: AsyncGenerator<Schemas["Event"]>): Promise<number[]> {
  const found: number[] = [];
  for await (const event of events) found.push(event.seq);
  return found;
}

async function findAgain(client: Api, recorded: { seq?: number }[]): Promise<void> {
  const newestFirst = recorded.map((event) => event.seq).reverse();
  assert.deepEqual(await sequence(eventsByUrl(client, 1346)), newestFirst);
  assert.deepEqual(await sequence(eventsByFilter(client, 1346)), newestFirst);
  assert.deepEqual(await sequence(eventsByFilter(client, "1346")), [], "a JSON filter takes text for text");
}

async function readBack(client: Api, recorded: Schemas["Recorded"]): Promise<void> {
  const params = { path: { id: recorded.id } };
  const event = await client.GET("/events/{id}", { params });
  assert.deepEqual([event.data?.seq, event.data?.outcome], [recorded.seq, "success"]);
  const payload = await client.GET("/events/{id}/payload", { params });
  assert.deepEqual(payload.data, accountEvent(1346).event_data);
}

/** Has the type of every operation's error, so a field that the document does not name does not compile. */
function expectProblem(answer: { error?: Schemas["Problem"]; response: Response }, status: number, code: string): Schemas["Problem"] {
  assert(answer.error, "expected a problem");
  assert.deepEqual([answer.response.status, answer.error.status, answer.error.code], [status, status, code]);
  return answer.error;
}

async function errorsAreTyped(client: Api): Promise<void> {
  const body = accountEvent(1346);
  expectProblem(await basic("admin", "wrong").GET("/events/query"), 401, "invalid_credentials");

  const forbidden = expectProblem(await api(`Bearer ${reader}`).POST("/events", { body }), 403, "role_missing");
  assert.equal(forbidden.role, "writer");

  const params = { header: { "Idempotency-Key": randomUUID() } };
  const first = await client.POST("/events", { body, params });
  const other = await client.POST("/events", { body: accountEvent(1), params });
  assert.equal(expectProblem(other, 409, "idempotency_conflict").id, first.data?.id);

  const invalid = { ...body, event_type: "eventlogger.mine" };
  const problem = expectProblem(await client.POST("/events", { body: invalid }), 422, "reserved_event_type");
  assert.equal(problem.errors?.[0]?.pointer, "/event_type");
  const batch = expectProblem(await client.POST("/events/batch", { body: [invalid] }), 422, "batch_rejected");
  assert.equal(batch.errors?.[0]?.pointer, "/0/event_type");
  const unknown = await client.GET("/events/{id}", { params: { path: { id: randomUUID() } } });
  expectProblem(unknown, 404, "not_found");
}

const client = basic("admin", password);
const recorded = await record(client);
await findAgain(client, [recorded, ...(await recordMany(client)), ...(await recordLines())]);
await readBack(client, recorded);
await errorsAreTyped(client);
console.log("ok: the generated TypeScript client records, finds, pages, reads back and tells errors apart");
