//! Landlock: no file, no TCP port, no signal to others, and no abstract unix socket of others
//! (landlock(7)).

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};

use super::failed;
use crate::error::Result;

/// What the server must still reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// Abstract unix sockets of other processes: clients of a unix datagram socket, and the service
    /// manager, can have such a name.
    pub abstract_sockets: bool,
}

/// The newest version that the tests have seen at work. Later ones can refuse what the server does:
/// version 9 a reply to a path, version 10 a reply over UDP.
const TESTED: ABI = ABI::V7;

/// Restricts the calling thread. Returns whether anything is restricted: not with a kernel that has
/// no Landlock, which is an error.
pub(super) fn restrict(reach: Reach) -> Result<bool> {
    match apply(reach) {
        Ok(RulesetStatus::NotEnforced) => {
            let why = "this kernel has no Landlock (Linux 5.13), or it is not in `lsm=`";
            Err(failed("restrict the thread with Landlock").detail(why))
        }
        Ok(_) => Ok(true),
        Err(error) => Err(failed("restrict the thread with Landlock")
            .because(std::io::Error::other(error.to_string()))),
    }
}

fn apply(reach: Reach) -> Result<RulesetStatus, RulesetError> {
    let scopes = match reach.abstract_sockets {
        true => Scope::Signal.into(),
        false => Scope::from_all(TESTED),
    };
    // An older kernel refuses what it can. Without a rule, nothing that is handled is allowed.
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(TESTED))?
        .handle_access(AccessNet::from_all(TESTED))?
        .scope(scopes)?
        .create()?
        .restrict_self()?;
    Ok(status.ruleset)
}
