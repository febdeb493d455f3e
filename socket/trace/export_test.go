package trace

// SetField sets the numeric field f of e.
func SetField(e *Event, f Field, v int64) { *columnOf(f).at(e) = v }
