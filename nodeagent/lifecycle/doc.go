// Package lifecycle decides what a node does next for one pod. It holds no
// container runtime, no clock and no goroutine: [Next] names one action, somebody
// else performs it, [Begin] folds that it is under way and [Observe] folds how
// it ended. [Seen] folds what the runtime says is there, asked or not.
//
//	State --Next--> Action --Begin--> performed --Observe--> State
//	                                      Seen, Want, Forget, Inputs --^
//
// The folds return the facts to be recorded. A fact is a transition: folding the
// same outcome, or seeing the same containers, a second time yields no fact.
//
// What holds in every state, and is checked by [State.Valid]:
//
//  1. an attempt's number only grows, and each attempt is started at most once;
//  2. a container that has exited has a time of exit, not before its start;
//  3. a deadline for ending never moves to a later time;
//  4. a pod that was stopped has no sandbox and nothing that runs.
//
// What the facts make of a pod's status is for the fold in package projections;
// what they mean, and when they come:
//
//	pod.sandbox-created      the pod has an address; its containers are being created
//	image.pull-started       once for the first pull of a container's image
//	image.pulled             when the image, or its digest, is news: ContainerCreating
//	image.pull-failed        after each failed try, with the time of the next: ErrImagePull,
//	                         then ImagePullBackOff; without a next one: InvalidImageName
//	container.started        an attempt runs: Running, restartCount is the attempt's number
//	container.start-failed   when the reason is news: CreateContainerConfigError,
//	                         CreateContainerError (the attempt is tried again), StartError (it
//	                         counts as one that has exited), CreatePodSandboxError (said of the
//	                         first container)
//	container.exited         an attempt is over: Terminated
//	container.backing-off    the next start is put off: CrashLoopBackOff
//	pod.stopping             once, when the first container is told to end
//	pod.stopped              nothing is left: the object may go
//	pod.rejected             the node cannot run it: phase Failed, until it is deleted
//
// A state is a value: no function here changes what it was given. After a
// restart of the agent the state is made again by [Resume] from what the log
// knows (the pod's status) and [Seen] from what the runtime knows; the facts
// that come out are exactly those that nobody has recorded yet.
package lifecycle
