package arq

func newModel(bbr bool, rng func() uint64) controller { return newCubic() }
