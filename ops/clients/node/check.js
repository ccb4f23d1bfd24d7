// Conclave through node-vault: logins, the life of tokens, both key-value engines, errors, and a
// leader that dies between two calls. `../checks.txt` says what each check has to show.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import vault from 'node-vault';

import { check, close, kill } from './report.js';

const PASSWORD = 'correct horse';
const POLICY = `
  path "secret/data/app/*" { capabilities = ["create", "read", "update", "delete"] }
  path "secret/metadata/app/*" { capabilities = ["read", "delete", "list"] }
  path "secret/metadata/app" { capabilities = ["list"] }
  path "secret/undelete/app/*" { capabilities = ["update"] }
  path "secret/destroy/app/*" { capabilities = ["update"] }
  path "legacy/app/*" { capabilities = ["create", "read", "update", "delete", "list"] }
  path "auth/token/create" { capabilities = ["update"] }
`;
const DENIED = 'permission denied';
const ELECTION_MS_MAX = 30_000;
const PAUSE_MS = 100;

const requestOptions = { ca: readFileSync(process.env.VAULT_CACERT) };
const root = process.env.VAULT_TOKEN;
let nodes = process.env.CLIENT_NODES.split(',');
let turn = 0;

/** A client of one node. It asks again while that node knows of no leader. */
function at(endpoint, token) {
  const client = vault({ endpoint, token, requestOptions });
  const { request } = client;
  client.request = (options) => patiently(() => request(options));
  return client;
}

/** A client of the next node in turn, as a balancer would choose. */
const next = (token) => at(nodes[turn++ % nodes.length], token);

async function login(username = 'alice', password = PASSWORD) {
  // Without a token the library would take the root token from the environment.
  const answer = await next('none').userpassLogin({ username, password });
  return answer.auth;
}

/** The call must be refused with this status and these words. */
async function refused(status, text, call) {
  const error = await call.then(() => assert.fail('it was not refused'), (error) => error);
  assert.equal(error.response?.statusCode, status, String(error));
  assert.equal(error.message, text);
}

const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE_MS));

/** Repeats what a node has answered with "nothing was executed" for want of a leader. */
async function patiently(call) {
  const deadline = Date.now() + ELECTION_MS_MAX;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (error.response?.statusCode !== 503 || Date.now() > deadline) throw error;
      await pause();
    }
  }
}

async function prepare() {
  await next(root).addPolicy({ name: 'app', rules: POLICY });
  await next(root).enableAuth({ mount_point: 'userpass', type: 'userpass' });
  await next(root).mount({ mount_point: 'legacy', type: 'kv', options: { version: '1' } });
  const user = { password: PASSWORD, token_policies: 'app', token_ttl: '30m' };
  await next(root).write('auth/userpass/users/alice', user);
}

async function tokens() {
  await check('tls', async () => {
    const stranger = vault({ endpoint: nodes[0], token: root });
    const error = await stranger.health().then(() => assert.fail('it trusts anybody'), (e) => e);
    assert.match(error.code, /CERT|VERIFY/, String(error));
  });

  const { client_token: token } = await login();

  await check('login', async () => {
    const auth = await login();
    assert.deepEqual(auth.policies, ['app', 'default']);
    assert.deepEqual(auth.token_policies, ['app', 'default']);
    assert.equal(auth.metadata.username, 'alice');
    assert.equal(auth.lease_duration, 1800);
    assert.equal(auth.renewable, true);
    assert.ok(auth.accessor && auth.accessor !== auth.client_token);
  });

  await check('login-refused', async () => {
    await refused(403, DENIED, login('alice', 'wrong'));
    await refused(403, DENIED, login('nobody', 'wrong'));
  });

  await check('token-lookup', async () => {
    const { data } = await next(token).tokenLookupSelf();
    assert.equal(data.id, token);
    assert.equal(data.path, 'auth/userpass/login/alice');
    assert.equal(data.display_name, 'userpass-alice');
    assert.deepEqual(data.policies, ['app', 'default']);
    assert.equal(data.creation_ttl, 1800);
    assert.ok(data.ttl > 1700 && data.ttl <= 1800, `ttl ${data.ttl}`);
    const asked = await next(root).tokenLookup({ token });
    assert.equal(asked.data.accessor, data.accessor);
  });

  await check('token-renew', async () => {
    const { auth } = await next(token).tokenRenewSelf({ increment: 3600 });
    assert.equal(auth.lease_duration, 3600);
    assert.equal(auth.client_token, token);
    const { data } = await next(token).tokenLookupSelf();
    assert.ok(data.ttl > 3500 && data.ttl <= 3600, `ttl ${data.ttl}`);
    assert.ok(data.last_renewal_time >= data.creation_time);
  });

  await check('child-token', async () => {
    const request = { policies: ['app'], ttl: '10m', display_name: 'child', meta: { job: '7' } };
    const { auth } = await next(token).tokenCreate(request);
    assert.equal(auth.lease_duration, 600);
    const { data } = await next(auth.client_token).tokenLookupSelf();
    assert.equal(data.display_name, 'token-child');
    assert.deepEqual(data.meta, { job: '7' });
    assert.equal(data.orphan, false);
    await next(auth.client_token).write('secret/data/app/child', { data: { by: 'child' } });
    // The policy lets it create tokens, and end itself, but no other one.
    await refused(403, DENIED, next(token).tokenRevoke({ token: auth.client_token }));
    await next(auth.client_token).tokenRevokeSelf();
    for (const node of nodes) {
      await refused(403, DENIED, at(node, auth.client_token).tokenLookupSelf());
      await refused(403, DENIED, at(node, auth.client_token).read('secret/data/app/child'));
    }
  });

  await check('children-end-with-parent', async () => {
    const parent = (await login()).client_token;
    const child = (await next(parent).tokenCreate({ ttl: '10m' })).auth.client_token;
    await next(child).tokenLookupSelf();
    await next(root).tokenRevoke({ token: parent });
    for (const node of nodes) {
      await refused(403, DENIED, at(node, parent).tokenLookupSelf());
      await refused(403, DENIED, at(node, child).tokenLookupSelf());
    }
  });

  await check('token-revoke-self', async () => {
    const mine = (await login()).client_token;
    await next(mine).tokenRevokeSelf();
    for (const node of nodes) {
      await refused(403, DENIED, at(node, mine).tokenLookupSelf());
    }
    await next(token).tokenLookupSelf();
  });
}

async function versionedSecrets() {
  const { client_token: token } = await login();
  const data = 'secret/data/app/db';
  const write = (value, options) => next(token).write(data, { data: { value }, options });

  await check('kv2-write-read', async () => {
    const secret = { user: 'ä', port: 5432, tags: ['a', 'b'], nested: { deep: null } };
    const written = await next(token).write('secret/data/app/one', { data: secret });
    assert.equal(written.data.version, 1);
    for (const node of nodes) {
      const read = await at(node, token).read('secret/data/app/one');
      assert.deepEqual(read.data.data, secret);
      assert.equal(read.data.metadata.version, 1);
      assert.equal(read.data.metadata.created_time, written.data.created_time);
    }
  });

  await check('kv2-versions', async () => {
    for (const value of ['first', 'second', 'third']) await write(value);
    assert.equal((await next(token).read(data)).data.data.value, 'third');
    assert.equal((await next(token).read(`${data}?version=1`)).data.data.value, 'first');
    const { data: metadata } = await next(token).read('secret/metadata/app/db');
    assert.equal(metadata.current_version, 3);
    assert.deepEqual(Object.keys(metadata.versions), ['1', '2', '3']);
  });

  await check('kv2-cas', async () => {
    const mismatch = 'check-and-set parameter did not match the current version';
    await refused(400, mismatch, write('late', { cas: 2 }));
    await refused(400, mismatch, write('late', { cas: 0 }));
    assert.equal((await write('fourth', { cas: 3 })).data.version, 4);
    assert.equal((await next(token).read(data)).data.data.value, 'fourth');
  });

  await check('kv2-list', async () => {
    await next(token).write('secret/data/app/folder/inner', { data: {} });
    const { data: { keys } } = await next(token).list('secret/metadata/app');
    assert.ok(keys.includes('db') && keys.includes('one') && keys.includes('folder/'), `${keys}`);
    assert.deepEqual((await next(token).list('secret/metadata/app/folder')).data.keys, ['inner']);
  });

  await check('kv2-delete', async () => {
    await next(token).delete(data);
    await refused(404, 'Status 404', next(token).read(data));
    assert.equal((await next(token).read(`${data}?version=3`)).data.data.value, 'third');
    await next(token).write('secret/undelete/app/db', { versions: [4] });
    assert.equal((await next(token).read(data)).data.data.value, 'fourth');
    await next(token).write('secret/destroy/app/db', { versions: [4] });
    await next(token).write('secret/undelete/app/db', { versions: [4] });
    await refused(404, 'Status 404', next(token).read(data));
    await next(token).delete('secret/metadata/app/db');
    await refused(404, 'Status 404', next(token).read('secret/metadata/app/db'));
  });
}

async function plainSecretsAndErrors() {
  const { client_token: token } = await login();

  await check('kv1', async () => {
    await next(token).write('legacy/app/one', { value: 'first' });
    await next(token).write('legacy/app/one', { value: 'second' });
    for (const node of nodes) {
      assert.deepEqual((await at(node, token).read('legacy/app/one')).data, { value: 'second' });
    }
    assert.deepEqual((await next(token).list('legacy/app/')).data.keys, ['one']);
    await next(token).delete('legacy/app/one');
    await refused(404, 'Status 404', next(token).read('legacy/app/one'));
  });

  await check('error-403', async () => {
    for (const node of nodes) {
      await refused(403, DENIED, at(node, token).read('secret/data/other'));
      await refused(403, DENIED, at(node, token).write('sys/policy/app', { policy: '' }));
      await refused(403, DENIED, at(node, 'hvs.none').read('secret/data/app/one'));
    }
  });

  await check('error-404', async () => {
    for (const node of nodes) {
      const error = await at(node, token).read('secret/data/app/none').catch((error) => error);
      assert.equal(error.response?.statusCode, 404);
      assert.deepEqual(error.response.body, { errors: [] });
      const lost = 'no handler for route "nowhere/x". route entry not found.';
      await refused(404, lost, at(node, root).read('nowhere/x'));
    }
  });
}

async function failover() {
  const { client_token: token } = await login();
  const path = 'secret/data/app/survivor';

  await check('leader-killed', async () => {
    await next(token).write(path, { data: { value: 'before' }, options: { cas: 0 } });
    const leader = await leaderOf(nodes);
    await kill(leader);
    nodes = nodes.filter((node) => node !== leader);
    const read = await next(token).read(path);
    assert.equal(read.data.data.value, 'before');
    const written = await next(token).write(path, { data: { value: 'after' } });
    assert.ok(written.data.version >= 2);
    assert.notEqual(await leaderOf(nodes), leader);
  });

  await check('after-failover', async () => {
    for (const node of nodes) {
      assert.equal((await at(node, token).read(path)).data.data.value, 'after');
      assert.equal((await at(node, token).tokenLookupSelf()).data.id, token);
    }
    const later = (await login()).client_token;
    await next(later).write('secret/data/app/later', { data: { value: 'later' } });
    await next(later).tokenRevokeSelf();
    for (const node of nodes) {
      await refused(403, DENIED, at(node, later).tokenLookupSelf());
    }
  });
}

/** The node that says it leads. */
async function leaderOf(candidates) {
  for (const node of candidates) {
    if ((await at(node, root).leader()).is_self) return node;
  }
  throw new Error('nobody says it leads');
}

const { version } = createRequire(import.meta.url)('node-vault/package.json');
console.log(`client node-vault ${version}`);
await prepare();
await tokens();
await versionedSecrets();
await plainSecretsAndErrors();
await failover();
close();
