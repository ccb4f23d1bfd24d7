//! The core as its doors see it, on a ledger in memory.

mod bad_engine;
mod idempotency;
mod join_tokens;
mod pipeline;
mod sys;
