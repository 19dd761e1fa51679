//! What the bus and the directory promise, on every backend: one program, so that it is linked once.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on has failed")]

/// Each case runs on memory, and on RabbitMQ when there is one.
macro_rules! contract {
    ($($(#[$doc:meta])* $name:ident => |$rig:ident| $case:block)*) => {
        $(
            $(#[$doc])*
            mod $name {
                #[allow(unused_imports, reason = "not every case needs every name")]
                use super::*;

                async fn case($rig: support::Rig) $case

                // Paused: a receipt that nothing keeps comes when nothing else is to be done.
                #[tokio::test(start_paused = true)]
                async fn on_memory() {
                    case(support::Rig::memory()).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_rabbit() {
                    if let Some(rig) = support::Rig::rabbit() {
                        case(rig).await;
                    }
                }
            }
        )*
    };
}

/// What the contracts are checked with.
mod support {
    pub mod bus;
    pub mod directory;
    pub mod line;
    pub mod peers;
}

/// Patterns of subjects.
mod subjects;

/// What every backend of the bus promises.
mod bus_contract;

/// How large its envelopes and batches may be.
mod bus_bounds;

/// What only a real broker can do to the bus.
mod bus_broken_line;

/// What the broker sees of a trace.
mod bus_trace;

/// A visitor that declares nothing.
mod bus_visit;

/// What every backend of the directory promises.
mod directory_contract;

/// TLS to both, and who is refused.
mod tls;

/// Who is told to have come and gone.
mod presence_contract;
