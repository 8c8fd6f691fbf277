"""Face detectors: each module brings one, in the contract of :class:`deepprivacy_rt.stages.Detector`."""
