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
            let refused = refused(needs, &rules);
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

/// Loads a 32-bit word of `struct seccomp_data`, of which the first is the number of the call.
const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const EQUALS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const GO: u32 = libc::BPF_JMP | libc::BPF_JA;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// An instruction. It skips `jt` instructions if its comparison with `k` is true, `jf` otherwise.
fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

/// The beginning of the program: what is not allowed ends here, what is goes on behind it. It
/// allows nothing.
///
/// When a filter is added, the kernel runs it once for every number that there is, to remember which
/// calls are always allowed. With a search in place of a list, seccomp(2) took 124 µs and not 150 µs.
fn refused(needs: &Needs, rules: &Rules) -> BpfProgram {
    let mut listed: BTreeMap<u32, Option<u32>> =
        rules.keys().map(|number| (*number as u32, None)).collect();
    for refused in REFUSED.iter().filter(|refused| refused.needed.by(needs)) {
        listed.insert(refused.call.number as u32, Some(refused.errno as u32));
    }
    // strace(1) and other tracers cancel a system call by changing its number to -1.
    listed.insert(u32::MAX, Some(libc::ENOSYS as u32));
    let listed: Vec<_> = listed.into_iter().collect();
    let mut program = vec![instruction(LOAD, 0, 0, 0)];
    search(&listed, &mut program);
    let end = program.len();
    for (index, instruction) in program.iter_mut().enumerate() {
        if instruction.code == GO as u16 {
            instruction.k = (end - index - 1) as u32;
        }
    }
    program
}

/// Finds the number that was loaded: an error for it, or the end of this part of the program.
fn search(listed: &[(u32, Option<u32>)], program: &mut BpfProgram) {
    let otherwise = instruction(RETURN, 0, 0, SeccompAction::Trap.into());
    match listed {
        [] => program.push(otherwise),
        [(number, errno)] => {
            let found = match errno {
                Some(errno) => instruction(RETURN, 0, 0, SeccompAction::Errno(*errno).into()),
                None => instruction(GO, 0, 0, 0),
            };
            program.extend([instruction(EQUALS, 1, 0, *number), otherwise, found]);
        }
        _ => {
            let (low, high) = listed.split_at(listed.len() / 2);
            let start = program.len();
            program.push(instruction(AT_LEAST, 0, 0, high.first().map_or(0, |first| first.0)));
            search(low, program);
            // At most 40 calls, with four instructions each: it fits into a byte.
            program[start].jt = (program.len() - start - 1) as u8;
            search(high, program);
        }
    }
}
