//! seccomp(2): the filter of system calls, compiled from the table in `calls`.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

use super::calls::{ALLOWED, Arguments, REFUSED};
use super::{Needs, failed};
use crate::error::Result;

/// Whether this program has a filter for this processor.
pub(super) const IS_KNOWN: bool = true;

#[cfg(target_arch = "x86_64")]
const PROCESSOR: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const PROCESSOR: TargetArch = TargetArch::aarch64;
#[cfg(target_arch = "riscv64")]
const PROCESSOR: TargetArch = TargetArch::riscv64;

/// The program for the kernel.
pub(super) struct Filter {
    program: BpfProgram,
    calls: usize,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

impl Filter {
    pub(super) fn new(needs: &Needs) -> Result<Self> {
        let compiled = rules(needs).and_then(|rules| {
            let calls = rules.len();
            let refused = refused(needs);
            // The handler of SIGSYS says what was called before the process ends.
            let (otherwise, listed) = (SeccompAction::Trap, SeccompAction::Allow);
            let filter = SeccompFilter::new(rules, otherwise, listed, PROCESSOR)?;
            let allowed: BpfProgram = filter.try_into()?;
            Ok(Self { program: [refused, allowed].concat(), calls })
        });
        compiled
            .map_err(|error| failed("compile the filter of system calls").detail(error.to_string()))
    }

    /// How many system calls are allowed.
    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    /// Filters the system calls of the calling thread.
    pub(super) fn apply(&self) -> Result<()> {
        seccompiler::apply_filter(&self.program).map_err(|error| {
            let attempted = failed("filter system calls with seccomp");
            match error {
                seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => {
                    attempted.because(error)
                }
                error => attempted.detail(error.to_string()),
            }
        })
    }
}

fn rules(needs: &Needs) -> Result<Rules, BackendError> {
    let mut rules = Rules::new();
    for allowed in ALLOWED.iter().filter(|allowed| allowed.needed.by(needs)) {
        let conditions = conditions(allowed.arguments)?;
        let chain = rules.entry(allowed.call.number).or_default();
        for conditions in conditions {
            chain.push(SeccompRule::new(conditions)?);
        }
    }
    Ok(rules)
}

/// What each rule of a call requires: one of them must hold. Without a rule, the call is allowed.
fn conditions(arguments: Arguments) -> Result<Vec<Vec<SeccompCondition>>, BackendError> {
    // Each of these arguments is an int: the kernel ignores the upper half of the register.
    let condition = |index, operator, value: i32| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, u64::from(value as u32))
    };
    let equals = |index, value| condition(index, SeccompCmpOp::Eq, value);
    match arguments {
        Arguments::Any => Ok(Vec::new()),
        Arguments::OneOf(index, values) => {
            values.iter().map(|value| Ok(vec![equals(index, *value)?])).collect()
        }
        Arguments::Masked(index, mask, values) => {
            let operator = || SeccompCmpOp::MaskedEq(u64::from(mask as u32));
            values.iter().map(|value| Ok(vec![condition(index, operator(), *value)?])).collect()
        }
        Arguments::Options(pairs) => {
            let pair = |(level, option)| Ok(vec![equals(1, level)?, equals(2, option)?]);
            pairs.iter().copied().map(pair).collect()
        }
    }
}

/// The beginning of the program: system calls that are not allowed, but fail with an error.
fn refused(needs: &Needs) -> BpfProgram {
    /// Loads a 32-bit word of `struct seccomp_data`, of which the first is the number of the call.
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUALS: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let mut program = vec![sock_filter { code: LOAD, jt: 0, jf: 0, k: 0 }];
    for refused in REFUSED.iter().filter(|refused| refused.needed.by(needs)) {
        let error = u32::from(SeccompAction::Errno(refused.errno as u32));
        let number = refused.call.number as u32;
        program.push(sock_filter { code: EQUALS, jt: 0, jf: 1, k: number });
        program.push(sock_filter { code: RETURN, jt: 0, jf: 0, k: error });
    }
    program
}
