// How a program of ops/clients talks to `cargo xtask clients`: a line a check on standard output, and
// one word on standard input once the leader is dead.

import { createInterface } from 'node:readline';

const words = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Runs one check and prints how it went; an error ends the check, not the program. */
export async function check(name, run) {
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (error) {
    process.exitCode = 1;
    console.log(`failed ${name}: ${String(error.stack ?? error).replaceAll('\n', ' ')}`);
  }
}

/** Has the node at this address killed without warning; returns once it is dead. */
export async function kill(address) {
  console.log(`kill ${address}`);
  const { value } = await words.next();
  if (value !== 'killed') throw new Error(`the node was not killed: ${value}`);
}

/** Nothing more is to be read: without this the program would wait for it. */
export function close() {
  process.stdin.destroy();
}
