//! The limits of password attempts, cluster-wide. No user can lock another one out.
//!
//! Only wrong passwords count: the worker takes a try before it checks the password, so that parallel requests
//! gain nothing, and gives it back if the password is right. Three limits:
//!
//! * one account from one address, narrow: for a person who mistypes;
//! * one address over all accounts, and one account over all addresses, wide: against a machine that
//!   guesses. An address where the account's right password was once given passes both, so neither guesses
//!   from elsewhere nor a neighbour behind the same address lock the owner out.
//!
//! An e-mail without an account is counted in the same way, so no answer shows which ones have an account.

use std::net::IpAddr;

use common::directory::ClusterRate;
use protocol::ids::UserId;

use super::digest::{Digest, digest};
use crate::ctx::Ctx;
use crate::metrics;
use crate::rest::response::Refusal;

/// Wrong passwords of one account from one address.
const PAIR: ClusterRate = ClusterRate { burst: 10, per_second: 0.1 };

/// Wrong passwords of one account from all addresses where it is not known: as many as NIST SP 800-63B
/// allows in a row.
const ACCOUNT: ClusterRate = ClusterRate { burst: 100, per_second: 0.1 };

/// Wrong passwords from one address. An office shares one.
const ADDRESS: ClusterRate = ClusterRate { burst: 100, per_second: 2.0 };

/// New accounts from one address.
const REGISTER: ClusterRate = ClusterRate { burst: 100, per_second: 0.1 };

/// The network of a client, as far as it belongs to one subscriber: the IPv4 address, or the /64 of an IPv6
/// address, because a single machine may use all of it.
pub(super) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}")
        }
    }
}

/// A network as it is stored for an account: a digest, so that the table does not show where people live.
pub(super) fn remembered(user: UserId, network: &str) -> Digest {
    digest(&format!("{user} at {network}"))
}

/// Takes one registration from the limit of this network.
pub(super) async fn may_register(ctx: &Ctx, network: &str) -> Result<(), Refusal> {
    let key = format!("register.address.{network}");
    ctx.directory.take_tokens(&key, 1, REGISTER).await?.map_err(Refusal::too_many)
}

/// The tries taken for one password, to be given back if it is right.
pub(super) struct Try<'a> {
    ctx: &'a Ctx,
    taken: Vec<(String, ClusterRate)>,
}

impl<'a> Try<'a> {
    /// Takes a try from the narrow limit, before any look-up. `account`: the e-mail, as a key.
    pub async fn of(ctx: &'a Ctx, account: &str, network: &str) -> Result<Self, Refusal> {
        let mut guess = Self { ctx, taken: Vec::with_capacity(3) };
        guess.take("pair", format!("login.pair.{account}.{network}"), PAIR).await?;
        Ok(guess)
    }

    /// Takes a try from each wide limit, for an address where the account is not known.
    pub async fn count_stranger(&mut self, account: &str, network: &str) -> Result<(), Refusal> {
        self.take("address", format!("login.address.{network}"), ADDRESS).await?;
        self.take("account", format!("login.account.{account}"), ACCOUNT).await
    }

    /// Gives all tries back: the password was right or was not checked, so it was not a guess.
    pub async fn give_back(self) -> Result<(), Refusal> {
        for (key, rate) in &self.taken {
            self.ctx.directory.give_tokens(key, 1, *rate).await?;
        }
        Ok(())
    }

    /// Takes one try. If it is refused, gives back the earlier ones: a refused attempt is not a guess.
    async fn take(&mut self, limit: &'static str, key: String, rate: ClusterRate) -> Result<(), Refusal> {
        if let Err(wait) = self.ctx.directory.take_tokens(&key, 1, rate).await? {
            metrics::login_refused(limit);
            let taken = std::mem::take(&mut self.taken);
            Self { ctx: self.ctx, taken }.give_back().await?;
            return Err(Refusal::too_many(wait));
        }
        self.taken.push((key, rate));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_what_one_person_holds() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("198.51.100.7"), "198.51.100.7");
        assert_eq!(of("::ffff:198.51.100.7"), "198.51.100.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2");
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }
}
