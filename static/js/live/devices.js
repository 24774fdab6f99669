// Which microphone and loudspeaker a conversation uses, as they are chosen, come and go.

import { SoundPanel } from "./sound_panel.js";

export class Devices {
  /** `current()`: the conversation that runs, or null. `say`: the words of notes.js. */
  constructor({ current, notices, say }) {
    Object.assign(this, { current, notices, say });
    this.missing = false; // there was no microphone to be had
    this.panel = new SoundPanel({
      onChoice: (kind, id) => this.#choose(kind, id),
      onChange: (devices) => this.#changed(devices),
    });
  }

  get chosen() {
    return this.panel.devices;
  }

  /** The conversation got a microphone, or none because of `problem`. */
  microphone(microphone, problem) {
    this.missing = !microphone && problem?.code !== "microphone_NotAllowedError";
    this.panel.refresh();
  }

  findMicrophone() {
    this.current()?.findMicrophone("again");
  }

  /** When a device may be there again: a phone call is over. */
  retry() {
    if (this.missing) this.findMicrophone();
  }

  /** Shows the choice. */
  choose() {
    this.panel.open();
  }

  async #choose(kind, id) {
    const conversation = this.current();
    if (!conversation) return;
    if (kind === "microphone") {
      await conversation.setMicrophone(id);
      return;
    }
    try {
      await conversation.setLoudspeaker(id);
    } catch {
      this.panel.choose("loudspeaker", conversation.devices.loudspeaker);
      this.#tell(this.say.loudspeakerFailed);
    }
  }

  // A lost microphone tells by itself; a lost loudspeaker does not.
  #changed({ microphone, loudspeaker, named }) {
    const conversation = this.current();
    if (!conversation) return;
    if (this.missing && microphone.length) this.findMicrophone();
    const used = conversation.devices.loudspeaker;
    if (!named || !used || loudspeaker.includes(used)) return;
    conversation.setLoudspeaker("").catch(() => {});
    this.#tell(this.say.loudspeakerLost);
  }

  #tell(text) {
    this.notices.show({ code: "loudspeaker", text, brief: true });
  }
}
