//! A datagram socket that does not echo: each datagram is a question.

use super::answers::Answers;
use super::run::{Reply, Run};
use super::unsent::Refusal;
use crate::server::answer::{Asker, Credentials, Question, Response};
use crate::server::workspace::Workspace;
use crate::sys::message::Batch;
use crate::sys::{control, sockaddr};

/// How much longer than its question an answer may be: RFC 9000, section 8.1. Whoever forges the
/// address of a victim could as well send the victim a third of it.
const AMPLIFICATION_MAX: usize = 3;

impl Answers {
    /// Answers the `count` datagrams that `batch` has received, each alone. Whom an echo does not
    /// answer gets no answer either.
    pub(super) fn inform(&mut self, batch: &Batch, count: usize, space: &mut Workspace<'_>) {
        for slot in 0..count {
            let mut run = Run::at(batch, slot, slot + 1, false);
            let datagrams = run.datagrams(batch);
            space.statistics.messages += datagrams as u64;
            space.statistics.bytes += run.bytes(batch) as u64;
            self.trace(false, &run, batch, space);
            if let Some(refusal) = self.refusal(batch, &mut run, datagrams) {
                self.socket.refuse(batch.name(slot), datagrams, &refusal, space);
                continue;
            }
            let credentials = control::credentials(batch.control(slot));
            let credentials = credentials.map(|[pid, uid, gid]| Credentials { pid, uid, gid });
            for question in run.replies(batch) {
                match self.response(question, credentials, space) {
                    Ok(bytes) => self.send_or_keep(Reply { data: &bytes, ..question }, space),
                    Err(why) => {
                        let refusal = Refusal::new(false, why);
                        self.socket.refuse(question.name, 1, &refusal, space);
                    }
                }
            }
        }
    }

    /// The answer, or why there is none.
    fn response(
        &self,
        datagram: Reply<'_>,
        credentials: Option<Credentials>,
        space: &Workspace<'_>,
    ) -> Result<Vec<u8>, &'static str> {
        let sender = sockaddr::from_bytes(datagram.name);
        let question = Question {
            socket: self.socket.source(),
            asker: Asker::Sender(&sender, credentials),
            bytes: datagram.data,
            is_whole: true,
        };
        match space.answer.map(|answer| answer.answer(&question)) {
            Some(Response::Bytes(bytes))
                if bytes.len() <= AMPLIFICATION_MAX * datagram.data.len() =>
            {
                Ok(bytes)
            }
            Some(Response::Bytes(_)) => Err("its answer would be more than three times as long"),
            Some(Response::Nothing(why)) => Err(why),
            _ => Err("it is not a complete question"),
        }
    }
}
