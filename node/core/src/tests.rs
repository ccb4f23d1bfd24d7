//! The core as its doors see it, on a ledger in memory.

mod bad_engine;
mod ceremonies;
mod idempotency;
mod join_tokens;
mod lock_out;
mod mounting;
mod pipeline;
mod sys;
mod tidy;
mod tokens;
