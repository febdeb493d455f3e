package main

// The events of a transfer. events.schema.json says what each field means.

type startEvent struct {
	Event     string `json:"event"`
	Role      string `json:"role"`
	Peer      string `json:"peer"`
	Transport string `json:"transport"`
	Encrypted bool   `json:"encrypted"`
}

type fileEvent struct {
	Event  string `json:"event"`
	Peer   string `json:"peer"`
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	BLAKE3 string `json:"blake3"`
	Had    bool   `json:"had,omitempty"`
}

type rttSummary struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
}

type doneEvent struct {
	Event       string     `json:"event"`
	Role        string     `json:"role"`
	Peer        string     `json:"peer"`
	Transport   string     `json:"transport"`
	ARQ         string     `json:"arq"`
	Encrypted   bool       `json:"encrypted"`
	Files       int        `json:"files"`
	Bytes       int64      `json:"bytes"`
	Seconds     float64    `json:"seconds"`
	GoodputBPS  float64    `json:"goodput_bps"`
	Resumed     int64      `json:"resumed_bytes"`
	Streams     int        `json:"streams,omitempty"`
	PacketsSent int64      `json:"packets_sent"`
	PacketsLost int64      `json:"packets_lost"`
	Retransmits int64      `json:"retransmits"`
	RTT         rttSummary `json:"rtt_ms"`
	Limiter     string     `json:"limiter"`
	Skipped     int        `json:"skipped"`
	Failed      int        `json:"failed"`
	Datagrams   *pathEvent `json:"datagrams,omitempty"` // --arq none
}
