"""Adapters: our environments for agents written for other libraries.

| agent written for                   | adapter                                                |
|-------------------------------------|--------------------------------------------------------|
| gymnax 1.0, struct observations     | none: `SessionEnvironment` is a gymnax environment     |
| gymnax 1.0, flat observations       | `flat.FlatSessions`                                    |
| gymnax 0.0.9 (rejax 0.1.3, ...)     | `flat.FiveValueSteps` around `flat.FlatSessions`       |
| gymnasium, one user                 | `gymnasium_env.SessionGym`                             |
| gymnasium, many users               | `gymnasium_env.SessionVectorEnv`                       |
| stable-baselines3                   | `stable_baselines.SessionVecEnv`                       |

Each adapter takes the environment and the parameters that ``ialp_jax.simulator.make`` returns, or a
`FlatSessions` around the environment. The wrappers of gymnax 1.0 do not work here. Its
FlattenObservationWrapper does not accept struct observations. Its wrappers for gymnasium return JAX arrays,
which the declared observation spaces do not contain. At the end of a session, these wrappers return the next
session's first observation instead of the final one. They also do not declare an autoreset mode.
"""
