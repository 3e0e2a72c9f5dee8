//! What a worker publishes after each turn, and what the first worker tells its observer.

use std::time::Instant;

use super::answer::Answer;
use super::bell::Bell;
use super::observer::{Observer, Statistics};
use super::pulse::{Pulse, Watch};
use super::shared::Shared;

pub(super) struct Reporter<'a> {
    pulses: &'a [Pulse],
    pulse: &'a Pulse,
    /// Only the first worker has an observer.
    is_first: bool,
    bell: Option<&'a Bell>,
    /// Whether the observer knows that something has changed since its last tick.
    has_told: bool,
    /// Who is told of the first byte, until it has come.
    first_byte: Option<&'a dyn Answer>,
    watch: Watch,
}

impl<'a> Reporter<'a> {
    /// For the worker `number`; the first one is 0.
    pub(super) fn new(shared: &'a Shared<'a>, number: usize) -> Self {
        Self {
            pulses: shared.pulses,
            pulse: &shared.pulses[number],
            is_first: number == 0,
            bell: shared.bell.as_ref(),
            has_told: false,
            first_byte: shared.answer,
            watch: Watch::default(),
        }
    }

    /// What the first of several workers has to wait for.
    pub(super) fn bell(&self) -> Option<&'a Bell> {
        self.bell.filter(|_| self.is_first)
    }

    /// The worker goes to work.
    pub(super) fn begin_turn(&self) {
        self.pulse.begin_turn();
    }

    /// The worker is about to wait for events, or to end.
    pub(super) fn end_turn(
        &mut self,
        statistics: &Statistics,
        connections: usize,
        observer: &mut dyn Observer,
    ) {
        if self.pulse.publish(statistics, connections) {
            if statistics.bytes > 0 || statistics.messages > 0 {
                if let Some(answer) = self.first_byte.take() {
                    answer.has_received();
                }
            }
            match self.bell {
                Some(bell) if !self.is_first => bell.ring(),
                _ => self.has_changed(observer),
            }
        }
        self.pulse.end_turn();
    }

    /// This worker or another one has changed something.
    pub(super) fn has_changed(&mut self, observer: &mut dyn Observer) {
        if !std::mem::replace(&mut self.has_told, true) {
            observer.changed();
        }
    }

    /// Calls the observer if its time has come.
    pub(super) fn on_time(&mut self, now: Instant, observer: &mut dyn Observer) {
        if observer.next_due().is_none_or(|due| due > now) {
            return;
        }
        self.has_told = false;
        if let Some(bell) = self.bell {
            bell.arm();
        }
        observer.tick(now, &self.watch.look(self.pulses, now));
    }
}
