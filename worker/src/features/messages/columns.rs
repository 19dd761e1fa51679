//! Parts of statements that several statements of messages share.

/// A message as [`message_view`] reads it; `kind` needs the number of verified participants.
macro_rules! message_columns {
    () => {
        "m.id, m.conversation_id, m.seq, m.guid, m.message_type, m.content, m.created_at, m.deleted_at, \
         m.call_type, m.call_status, m.message_status, m.attachments, m.sender_id, \
         u.first_name, u.last_name"
    };
}
pub(crate) use message_columns;

/// The number of verified participants, counted no further than `kind` needs: two, or another number.
macro_rules! counted {
    ($conversation:literal) => {
        concat!(
            "(select count(*) from (select from participants q where q.conversation_id = ",
            $conversation,
            " and q.status = 'VERIFIED' limit 3) q)"
        )
    };
}
pub(crate) use counted;
