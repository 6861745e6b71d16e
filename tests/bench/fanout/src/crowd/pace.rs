//! An order a second in each of many rooms.

use std::time::{Duration, Instant};

use super::{Crowd, Group, PATIENCE};
use crate::generator::Report;

const EVERY: Duration = Duration::from_secs(1);

impl Crowd {
    /// So many orders in each group, the groups one after the other within a second; it is reported when the last viewer
    /// had each. A group's next one waits for that.
    pub(crate) fn pace(&mut self, first: u64, orders: u32) -> anyhow::Result<Report> {
        self.begin();
        let mut there = vec![0; self.groups.len()];
        for seat in self.seats.iter().filter(|seat| seat.listens()) {
            there[seat.group] += 1;
        }
        let groups = u32::try_from(there.len())?;
        let (start, mut last_ms) = (Instant::now(), Vec::new());
        // After the last order of each there is one more turn, to see who had it.
        for turn in 0..groups * (orders + 1) {
            let (order, group) = (turn / groups, (turn % groups) as usize);
            let due = start + EVERY * turn / groups;
            loop {
                self.look(Duration::ZERO)?;
                let Group { waiting, sent, .. } = &self.groups[group];
                if *waiting > 0 && sent.elapsed() > PATIENCE {
                    return Ok(self.report(group));
                }
                if *waiting == 0 && Instant::now() >= due {
                    break;
                }
            }
            if order > 0 {
                last_ms.extend(self.groups[group].arrived_ms.last());
            }
            if order < orders {
                self.give(group, first + u64::from(order), 1, there[group]);
            }
        }
        for group in &mut self.groups {
            group.awaited = None;
        }
        last_ms.sort_by(f64::total_cmp);
        let took_ms = (self.last_frame - start).as_secs_f64() * 1000.0;
        Ok(Report { took_ms, arrived_ms: last_ms, ..self.report(0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crowd::tests::{BYTES, a_bare_server},
        speech::{FIRST_ORDER, Speech},
    };

    #[test]
    fn an_order_is_for_its_room_and_each_room_has_one_a_second() -> anyhow::Result<()> {
        let (mut crowd, server) = (Crowd::new()?, a_bare_server());
        crowd.join(Speech::relay(&server, "/", BYTES), 10, 0)?;
        crowd.join(Speech::relay(&server, "/1", BYTES), 20, 0)?;
        assert_eq!(crowd.order(0, FIRST_ORDER, 1, None)?.frames, 11);
        assert_eq!(crowd.order(1, FIRST_ORDER, 1, None)?.frames, 21);

        let paced = crowd.pace(FIRST_ORDER + 1, 1)?;
        assert_eq!((paced.frames, paced.missing, paced.why), (11 + 21, 0, None));
        assert_eq!(paced.arrived_ms.len(), 2, "one for each order");
        Ok(())
    }
}
