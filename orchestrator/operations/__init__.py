"""The verbs: submit, dispatch, record, cancel, finish, reset. Each commits once."""
