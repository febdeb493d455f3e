package transfer

import (
	"cmp"
	"container/heap"
)

// A jobQueue holds files that are decided on and not begun. One connection sends
// them in the order of the list, which is the order of the directories on the disk.
// Several begin with the largest, and of equal ones with the first in the list: at
// the end, when there is no longer work for all of them, what is left is then small
// (longest processing time first; R. L. Graham, 1969). It is the largest of those
// that are known: the receiver may still be deciding on others.
type jobQueue struct {
	jobs    []job
	largest bool // a heap, else in order
}

// largestFirst is called when there is more than one connection.
func (q *jobQueue) largestFirst() {
	if !q.largest {
		q.largest = true
		heap.Init((*jobHeap)(q))
	}
}

func (q *jobQueue) push(j job) {
	if q.largest {
		heap.Push((*jobHeap)(q), j)
		return
	}
	q.jobs = append(q.jobs, j)
}

// first is the next one, if there is any.
func (q *jobQueue) first() (*job, bool) {
	if len(q.jobs) == 0 {
		return nil, false
	}
	return &q.jobs[0], true
}

func (q *jobQueue) pop() job {
	if q.largest {
		return heap.Pop((*jobHeap)(q)).(job)
	}
	j := q.jobs[0]
	q.jobs[0] = job{} // what it holds can be long
	if q.jobs = q.jobs[1:]; len(q.jobs) == 0 {
		q.jobs = nil
	}
	return j
}

type jobHeap jobQueue

func (h *jobHeap) Len() int      { return len(h.jobs) }
func (h *jobHeap) Swap(i, j int) { h.jobs[i], h.jobs[j] = h.jobs[j], h.jobs[i] }
func (h *jobHeap) Push(x any)    { h.jobs = append(h.jobs, x.(job)) }

func (h *jobHeap) Less(i, j int) bool {
	a, b := &h.jobs[i], &h.jobs[j]
	return cmp.Or(-cmp.Compare(a.e.Size, b.e.Size), cmp.Compare(a.entry, b.entry)) < 0
}

func (h *jobHeap) Pop() any {
	last := len(h.jobs) - 1
	j := h.jobs[last]
	h.jobs[last] = job{}
	h.jobs = h.jobs[:last]
	return j
}
