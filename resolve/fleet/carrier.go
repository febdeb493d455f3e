package fleet

import "context"

// A Carrier carries batches from one coordinator to many workers and results back,
// each at least once: what is not acknowledged is delivered again, to the same or
// another. It reconnects by itself; an error of it is final.
type Carrier interface {
	// Send returns when the message is safe with the carrier. A worker sends a
	// result to the job that a batch was of.
	Send(ctx context.Context, job string, body []byte) error
	// Receive waits for the next message.
	Receive(ctx context.Context) (Delivery, error)
	Close() error
}

// A Delivery is a message that has been received and not acknowledged.
type Delivery struct {
	Body []byte
	// Ack says that the message is done with. An error means that it may come again.
	Ack func() error
	// Return gives the message back for another to take.
	Return func() error
}
